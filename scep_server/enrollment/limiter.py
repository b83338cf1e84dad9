"""Slows down a source: five wrong challenges a minute (N18), and as many queries as a server lets strangers make.

The table lives in anonymous shared memory of a fixed size, so that worker processes forked after it was made count
together and strangers cannot make it grow. Rows are found by a keyed hash, so nobody can aim at another's row. Two
processes may write one row at once; the worst that follows is one try more or less, so there is no lock.
"""

from __future__ import annotations

import hashlib
import mmap
import secrets
from datetime import datetime

from scep_server.policy.sources import neighbourhood

TRIES = 5
WINDOW = 60.0

_ROWS = 1 << 14
_PROBES = 8
"""Neighbouring rows a source may use; with all taken, the one that was quiet for longest is given away."""


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
