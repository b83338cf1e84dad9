"""Open one-time challenges kept in the ledger (interfaces.Challenges). Issuances spend them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from scep_server.errors import ChallengesFull
from scep_server.interfaces import Clock
from scep_server.ledger.challenge_statements import SWEEP
from scep_server.ledger.compiling import Statement
from scep_server.ledger.database import Session
from scep_server.ledger.jobs import Done
from scep_server.ledger.reader import Reader
from scep_server.ledger.rows import challenge_of, challenge_row, lookup_rows, micros
from scep_server.ledger.schema import APPLICATION_ID
from scep_server.ledger.spending import slots
from scep_server.ledger.writer import Writer
from scep_server.types import Event, OpenChallenge, SpentChallenge

KEPT: Final = timedelta(days=1)
"""How long an expired challenge can still be told from one that never was."""


class LedgerChallenges:
    """Open challenges on one database: `Ledger.challenges`."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock

    async def put(self, challenges: Sequence[OpenChallenge], ceiling: int | None, events: Sequence[Event]) -> None:
        """Keep all or none. ChallengesFull when their integration would then have more than ceiling unspent ones, this
        by the ledger's clock; LedgerUnavailable when they cannot be kept.
        """
        rows = [challenge_row(challenge) for challenge in challenges]
        lookups = [each for challenge in challenges for each in lookup_rows(challenge)]
        wanted = sorted(Counter(challenge.integration for challenge in challenges).items())
        now = micros(self._clock())

        def work(session: Session) -> Done[None]:
            if ceiling is not None:
                for integration, more in wanted:
                    _refuse_above(ceiling, session, integration, more, now)
            session.insert_all(session.sql.add_challenge, rows)
            session.insert_all(session.sql.add_lookup, lookups)
            return Done(None)

        await self._writer.run(work, events)

    async def find(self, integration: str, mac: bytes) -> OpenChallenge | SpentChallenge | None:
        """By MAC, without its lookups; an expired one until `expire` forgets it. None when this integration has, and
        had, none of this MAC. Fault when it cannot be told.
        """

        def read(session: Session) -> OpenChallenge | SpentChallenge | None:
            row = session.one(session.sql.challenge, {"integration": integration, "mac": mac})
            if row is not None:
                return challenge_of(row)
            # In this order: whatever is spent between the two reads is found by the second.
            row = session.one(session.sql.spender, {"integration": integration, **slots(mac)})
            return None if row is None else SpentChallenge(row[0])

        return await self._reader.quick_read(read)

    async def sealed(self, integration: str, lookup: bytes) -> Sequence[OpenChallenge]:
        """The newest two unexpired ones that keep their challenge and are found by this lookup, newest first (R50)."""
        key = {"integration": integration, "lookup": lookup, "now": micros(self._clock())}
        rows = await self._reader.quick_read(lambda session: session.all(session.sql.sealed_challenges, key))
        return [challenge_of(row) for row in rows]

    async def unspent(self, integration: str) -> int:
        """How many are open and not expired."""
        now = micros(self._clock())
        return await asyncio.to_thread(self._reader.read, lambda session: _unspent(session, integration, now))

    async def forget(self, integration: str, macs: Sequence[bytes]) -> None:
        """Nothing: the commit that spent them has forgotten them."""

    async def expire(self, now: datetime) -> int:
        """Count those that expired since the last call of any process, each once; forget those that did a day ago."""
        expired = await self._sweep("note_expired", now)
        await self._sweep("forget_expired", now - KEPT)
        return expired

    async def _sweep(self, name: str, end: datetime) -> int:
        """In small commits of their own, so that enrolments get in between."""
        key = {"end": micros(end)}

        def work(session: Session) -> Done[int]:
            statement: Statement = getattr(session.sql, name)
            touched = session.change_all(statement, key)
            return Done(touched, wrote=touched > 0)

        total = 0
        while (touched := await self._writer.run(work)) == SWEEP:
            total += touched
        return total + touched


def _unspent(session: Session, integration: str, now: int) -> int:
    row = session.one(session.sql.unspent, {"integration": integration, "now": now})
    return 0 if row is None else int(row[0])


def _refuse_above(ceiling: int, session: Session, integration: str, more: int, now: int) -> None:
    """ChallengesFull, if so. Nobody else adds to this integration until this commit, so the answer holds."""
    if not session.is_sqlite:
        # SQLite has one writer anyway. Of the two-number locks; the ledger's others have one number.
        digest = hashlib.sha256(integration.encode()).digest()
        lock = {"space": APPLICATION_ID, "integration_number": int.from_bytes(digest[:4], "big", signed=True)}
        session.one(session.sql.lock_challenges, lock)
    unspent = _unspent(session, integration, now)
    if unspent + more > ceiling:
        raise ChallengesFull(f"integration {integration} has {unspent} unspent challenges; its ceiling is {ceiling}")
