"""The outbox: what plugins have yet to be told (interfaces.Notices).

A notice is stored in the commit of what it tells, so that neither a crash nor a silent remote service loses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from scep_server.ledger.database import Session
from scep_server.ledger.jobs import Done
from scep_server.ledger.reader import Reader
from scep_server.ledger.rows import micros, notice_of, notice_parameters
from scep_server.ledger.writer import Writer
from scep_server.types import Event, Notice

T = TypeVar("T")


class NoticesPart:
    """The outbox on one database."""

    _writer: Writer
    _reader: Reader

    def due_notices(self, now: datetime, limit: int) -> Sequence[Notice]:
        """Blocking read. Those due for longest, with the certificate of their entry where it has one by now."""
        key = {"now": micros(now), "most": limit}
        return [notice_of(row) for row in self._reader.read(lambda session: session.all(session.sql.due_notices, key))]

    async def notice_told(self, notice_id: str, events: Sequence[Event]) -> None:
        """Remove it; nothing is recorded when somebody else already has."""

        def work(session: Session) -> Done[None]:
            return Done(None, wrote=session.change(session.sql.drop_notice, {"notice_id": notice_id}))

        await self._writer.run(work, events)

    async def notice_later(self, notice_id: str, due_at: datetime) -> None:
        """Once more at due_at; its tries rise by one."""
        change = {"notice_id": notice_id, "new_due_at": micros(due_at)}

        def work(session: Session) -> Done[None]:
            return Done(None, wrote=session.change(session.sql.delay_notice, change))

        await self._writer.run(work)


def keep_notices(session: Session, done: Done[T], notices: Sequence[Notice]) -> Done[T]:
    """What was done, with its notices stored: as with events, only when something was written."""
    if done.wrote:
        for notice in notices:
            session.change(session.sql.add_notice, notice_parameters(notice, done.entry_id))
    return done
