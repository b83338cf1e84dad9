"""Leases: work that one process does at a time, of all that share the ledger (interfaces.Leases)."""

from __future__ import annotations

from datetime import datetime

from scep_server.ledger.database import Session
from scep_server.ledger.jobs import Done
from scep_server.ledger.rows import micros
from scep_server.ledger.writer import Writer


class LeasesPart:
    """Leases on one database. Times are the callers': their clocks differ by less than a lease lasts."""

    _writer: Writer

    async def lease(self, name: str, holder: str, now: datetime, until: datetime) -> bool:
        """True: holder has it until then. A lease of one's own is prolonged; another's stands until it ends."""
        wanted = {"name": name, "holder": holder, "until": micros(until), "now": micros(now)}

        def work(session: Session) -> Done[bool]:
            taken = session.change(session.sql.take_lease, wanted)
            return Done(taken, wrote=taken)

        return await self._writer.run(work)

    async def end_lease(self, name: str, holder: str) -> None:
        """Give it back; nothing happens when it is not holder's."""

        def work(session: Session) -> Done[None]:
            return Done(None, wrote=session.change(session.sql.end_lease, {"name": name, "holder": holder}))

        await self._writer.run(work)
