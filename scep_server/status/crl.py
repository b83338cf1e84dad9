"""Keeps every shard's CRL fresh and at hand.

CrlPublisher signs a new one when something was revoked and on schedule; CrlStore has the newest in memory, so that it
is served while the database is down. Both run in every process: the ledger lets one publisher win (K11), the others
take over what it published.

Numbers only rise: one more than the newest on record, and not below the seconds since 1970, so that they also pass
what was published before a restore from an old backup (K19) and after a clock was set back (N24).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from scep_server.errors import ScepServerError
from scep_server.interfaces import CertificateAuthority, Clock, Revocations
from scep_server.types import Crl, Event, RevokedCertificate

T = TypeVar("T")
ShardKey = tuple[str, int]
"""issuer_id and shard."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CrlSchedule:
    """When CRLs are renewed without a revocation, and how long each is good for."""

    lifetime: timedelta = timedelta(days=7)
    """nextUpdate after thisUpdate: how long devices go on while we are down."""
    renew_after: timedelta = timedelta(days=1)
    """Age at which a CRL is replaced."""
    clock_tolerance: timedelta = timedelta(minutes=5)
    """How far ahead of our clock a CRL of another host may begin before it is replaced."""
    reread_after: timedelta = timedelta(minutes=1)
    """Age at which CrlStore reads again even when no mark moved: another process may have renewed on schedule."""


DEFAULT_SCHEDULE = CrlSchedule()


class CrlStore:
    """The newest CRL of each shard, in memory. A CRL is only ever replaced by one with a higher number."""

    def __init__(
        self,
        ledger: Revocations,
        shards: Mapping[str, int],
        *,
        pool: Executor,
        clock: Clock,
        schedule: CrlSchedule = DEFAULT_SCHEDULE,
    ) -> None:
        """shards: how many CRLs each issuer_id has."""
        self._ledger = ledger
        self._keys = [(issuer_id, shard) for issuer_id, count in shards.items() for shard in range(count)]
        self._pool = pool
        self._clock = clock
        self._schedule = schedule
        self._held: dict[ShardKey, tuple[Crl, int]] = {}
        self._read_at: dict[ShardKey, datetime] = {}

    def current(self, issuer_id: str, shard: int) -> bytes | None:
        """DER of the newest CRL; None when there is no such shard, or nothing was published yet."""
        crl = self.newest(issuer_id, shard)
        return None if crl is None else crl.der

    def newest(self, issuer_id: str, shard: int) -> Crl | None:
        """The same with its number and times."""
        held = self._held.get((issuer_id, shard))
        return None if held is None else held[0]

    def offer(self, crl: Crl, mark: int) -> None:
        """Keep this CRL, which covers the revocations up to mark, unless the held one is as new or newer."""
        key = (crl.issuer_id, crl.shard)
        held = self._held.get(key)
        if held is None or crl.number > held[0].number:
            self._held[key] = (crl, mark)

    async def refresh(self) -> None:
        """A job for every second: one read of a mark per shard, and of a CRL only where it may have changed.

        LedgerUnavailable leaves what is held in place.
        """
        for key in self._keys:
            now = self._clock()
            read = await _in(self._pool, partial(self._read, key, now))
            if read is not None:
                self._read_at[key] = now
                self.offer(*read)

    def _read(self, key: ShardKey, now: datetime) -> tuple[Crl, int] | None:
        held, read_at = self._held.get(key), self._read_at.get(key)
        # The distance counts in both directions: after a clock was set back, nothing is due for a long time otherwise.
        recent = read_at is not None and abs(now - read_at) < self._schedule.reread_after
        if held is not None and recent and self._ledger.revocation_mark(*key) == held[1]:
            return None
        return self._ledger.newest_crl(*key)


class CrlPublisher:
    """Signs and records the CRLs of one issuing CA. published is told of every CRL that is the newest on record."""

    def __init__(
        self,
        ledger: Revocations,
        authority: CertificateAuthority,
        shards: int,
        *,
        pool: Executor,
        clock: Clock,
        published: Callable[[Crl, int], None],
        schedule: CrlSchedule = DEFAULT_SCHEDULE,
    ) -> None:
        if schedule.renew_after >= schedule.lifetime:
            raise ValueError("a CRL must be renewed before it ends")
        self._ledger = ledger
        self._authority = authority
        self._shards = range(shards)
        self._pool = pool
        self._clock = clock
        self._published = published
        self._schedule = schedule
        self._faults: dict[int, str] = {}

    async def run(self) -> None:
        """A job for every second: publishes what is due. One shard's fault stops no other; it is logged once."""
        for shard in self._shards:
            try:
                await self.publish_if_due(shard)
            except ScepServerError as error:
                if self._faults.get(shard) != str(error):
                    _log.error("CRL %s/%d was not renewed: %s", self._authority.issuer_id, shard, error)
                self._faults[shard] = str(error)
            else:
                self._faults.pop(shard, None)

    async def publish_if_due(self, shard: int) -> None:
        """Publish this shard's CRL when it is missing, misses a revocation, is old, or begins in the future (N24).

        Faults of the ledger and the CA come through.
        """
        due = await _in(self._pool, partial(self._sign_if_due, shard))
        if due is None:
            return
        crl, mark, why = due
        detail = {"issuer_id": crl.issuer_id, "shard": shard, "number": crl.number, "why": why}
        event = Event("crl.published", crl.this_update, detail=detail)
        if await self._ledger.publish_crl(crl, mark, (event,)):
            self._published(crl, mark)
            return
        faster = await _in(self._pool, partial(self._ledger.newest_crl, crl.issuer_id, shard))
        if faster is not None:
            self._published(*faster)

    def _sign_if_due(self, shard: int) -> tuple[Crl, int, str] | None:
        """Blocking. The mark is read before the list: what is revoked in between is listed, and published again."""
        issuer_id, now = self._authority.issuer_id, self._clock()
        mark = self._ledger.revocation_mark(issuer_id, shard)
        newest = self._ledger.newest_crl(issuer_id, shard)
        why = self._why(newest, mark, now)
        if why is None:
            return None
        number = int(now.timestamp()) if newest is None else max(newest[0].number + 1, int(now.timestamp()))
        entries = self._entries(shard, now, newest)
        crl = self._authority.sign_crl(shard, number, now, now + self._schedule.lifetime, entries)
        return crl, mark, why

    def _entries(self, shard: int, now: datetime, newest: tuple[Crl, int] | None) -> Iterable[RevokedCertificate]:
        """Blocking. What is to be listed, however the clocks of this and other hosts went."""
        issuer_id = self._authority.issuer_id
        # A host whose clock is a little ahead may have revoked something "later" than now.
        at = now + self._schedule.clock_tolerance
        entries = {entry.serial: entry for entry in self._ledger.revoked(issuer_id, shard, at)}
        if newest is not None and newest[0].this_update > at:
            # Our clock was set back: what was revoked in its future stays revoked (N24).
            entries |= {entry.serial: entry for entry in self._ledger.revoked(issuer_id, shard, newest[0].this_update)}
        return entries.values()

    def _why(self, newest: tuple[Crl, int] | None, mark: int, now: datetime) -> str | None:
        if newest is None:
            return "first"
        crl, covered = newest
        if covered != mark:
            return "revocation"
        if now >= crl.this_update + self._schedule.renew_after:
            return "schedule"
        if crl.this_update > now + self._schedule.clock_tolerance:
            _log.warning(
                "the clock is behind CRL number %d, which begins at %s; was it set back?", crl.number, crl.this_update
            )
            return "clock"
        return None


async def _in(pool: Executor, blocking: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, blocking)
