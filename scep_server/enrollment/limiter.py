"""Slows down a source: five wrong challenges a minute (N18), and as many queries as a server lets strangers make; and
whatever else has a name and a number a minute.

The tables live in anonymous shared memory of a fixed size, so that worker processes forked after they were made count
together and strangers cannot make them grow. Rows are found by a keyed hash, so nobody can aim at another's row. Two
processes may write one row at once; the worst that follows is one try more or less, so there is no lock.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import secrets
from datetime import datetime

from scep_server.policy.sources import neighbourhood

TRIES = 5
WINDOW = 60.0

_ROWS = 1 << 14
_PROBES = 8
"""Neighbouring rows a source may use; with all taken, the one that was quiet for longest is given away."""
_ROUNDING = 0.001
"""Seconds that sums of times may be off."""


class SourceLimiter:
    """Counts attempts by source. Make it before workers are forked; it takes 768 KiB, once.

    tries: attempts a minute that are still answered.
    """

    def __init__(self, tries: int = TRIES, *, rows: int = _ROWS) -> None:
        self._tries = tries
        self._rows = rows
        # A row is the source's hash, then the times of its last wrong tries in any order (0.0: never).
        self._words = 1 + tries
        self._key = secrets.token_bytes(32)
        memory = memoryview(mmap.mmap(-1, rows * self._words * 8))
        self._hashes = memory.cast("Q")
        self._times = memory.cast("d")

    def retry_after(self, source: str, now: datetime) -> int | None:
        """Seconds until one more try is answered again; None while tries are left.

        Ask before counting the try at hand: five are answered, the sixth within a minute is not.
        """
        row = self._find(self._hash(source))
        if row is None:
            return None
        at = now.timestamp()
        recent = self._recent(row, at)
        if len(recent) < self._tries:
            return None
        return max(1, round(min(recent) + WINDOW - at))

    def count(self, source: str, now: datetime) -> None:
        """Count one attempt. A challenge already spent is not a wrong one and is not counted."""
        at = now.timestamp()
        wanted = self._hash(source)
        row = self._find(wanted)
        if row is None:
            row = min(self._probes(wanted), key=self._latest)
            first = row * self._words + 1
            for word in range(first, first + self._tries):
                self._times[word] = 0.0
            self._hashes[row * self._words] = wanted
        first = row * self._words + 1
        # A time ahead of now is left from before the clock was set back: it goes first.
        row_times = [0.0 if time > at else time for time in self._times[first : first + self._tries]]
        self._times[first + row_times.index(min(row_times))] = at

    def _recent(self, row: int, at: float) -> list[float]:
        first = row * self._words + 1
        return [time for time in self._times[first : first + self._tries] if at - WINDOW < time <= at]

    def _latest(self, row: int) -> float:
        first = row * self._words + 1
        return max(self._times[first : first + self._tries])

    def _find(self, wanted: int) -> int | None:
        for row in self._probes(wanted):
            if self._hashes[row * self._words] == wanted:
                return row
        return None

    def _probes(self, wanted: int) -> list[int]:
        return [(wanted + step) % self._rows for step in range(_PROBES)]

    def _hash(self, source: str) -> int:
        digest = hashlib.blake2b(neighbourhood(source), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") or 1


class TokenBuckets:
    """Gives out so many tokens a minute by name. Make it before workers are forked; it takes 64 KiB, once.

    A bucket is the one time at which it would be full again; a full one holds a minute's tokens, so a burst may take
    them all at once. Kept in seconds of the minute, a bucket stays as full as it is when its number a minute changes.
    """

    def __init__(self, *, rows: int = 1 << 12) -> None:
        self._rows = rows
        self._key = secrets.token_bytes(32)
        # A row is the name's hash, then the time at which its bucket is full.
        memory = memoryview(mmap.mmap(-1, rows * 2 * 8))
        self._hashes = memory.cast("Q")[0::2]
        self._full_at = memory.cast("d")[1::2]

    def take(self, name: str, per_minute: int, now: datetime) -> int | None:
        """Take one token of at least one a minute. Seconds to wait when there is none; None when it was taken."""
        row = self._row(name)
        at = now.timestamp()
        # More than a minute ahead is left from before the clock was set back: an empty bucket, which fills from now.
        full_at = self._full_at[row] = min(max(self._full_at[row], at), at + WINDOW)
        lacking = full_at + WINDOW / per_minute - (at + WINDOW)
        if lacking > _ROUNDING:
            return max(1, math.ceil(lacking))
        self._full_at[row] = full_at + WINDOW / per_minute
        return None

    def _row(self, name: str) -> int:
        """The name's row; where it has none, the one of its rows whose bucket is full or nearest to it."""
        digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8, key=self._key).digest()
        wanted = int.from_bytes(digest, "big") or 1
        rows = [(wanted + step) % self._rows for step in range(_PROBES)]
        for row in rows:
            if self._hashes[row] == wanted:
                return row
        row = min(rows, key=self._full_at.__getitem__)
        self._hashes[row] = wanted
        self._full_at[row] = 0.0
        return row
