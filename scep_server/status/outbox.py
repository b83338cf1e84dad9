"""The outbox: tells plugins what became of their yes, at least once, and never in the way of a reply (F22)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from scep_server.errors import PluginFault, Refusal, ScepServerError
from scep_server.interfaces import Notices
from scep_server.metrics import Metrics
from scep_server.types import Event, Notice

log = logging.getLogger(__name__)

BATCH: Final = 100
GIVE_UP: Final = timedelta(days=3)
FIRST_WAIT: Final = timedelta(seconds=10)
LONGEST_WAIT: Final = timedelta(hours=1)


class Told(Protocol):
    """A plugin that takes notices, behind its guard."""

    async def notified(self, notice: Notice) -> None:
        """Returns when it took the notice."""
        ...


Find = Callable[[Notice], Told | None]
"""The plugin that a notice is for. LookupError: its integration is gone. None: it cannot be loaded now."""


class Outbox:
    """Tells what is due. One process at a time runs it."""

    def __init__(self, ledger: Notices, find: Find, metrics: Metrics, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._find = find
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> int:
        """One pass over the due notices, oldest first; how many were taken. LedgerUnavailable ends it.

        Integrations are told at the same time, each one notice after the other: who does not answer holds up nobody
        else.
        """
        due: dict[str, list[Notice]] = {}
        for notice in await asyncio.to_thread(self._ledger.due_notices, self._clock(), BATCH):
            due.setdefault(notice.integration, []).append(notice)
        # All of them end before a fault is raised, or somebody would still be told after the turn was given back.
        ends = await asyncio.gather(*map(self._tell_in_turn, due.values()), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return sum(end for end in ends if isinstance(end, int))

    async def _tell_in_turn(self, notices: Sequence[Notice]) -> int:
        """Tell one integration until it fails once: the rest would fail too, and would keep others' from being read."""
        told = 0
        fault: ScepServerError | None = None
        for notice in notices:
            if fault is None:
                taken, fault = await self._tell(notice)
                told += taken
            else:
                await self._later(notice, fault)
        return told

    async def _tell(self, notice: Notice) -> tuple[bool, ScepServerError | None]:
        """Whether it was taken, and what keeps this integration from taking any now."""
        try:
            plugin = self._find(notice)
            if plugin is None:
                raise PluginFault("its settings cannot be loaded")
            await plugin.notified(notice)
        except LookupError:
            await self._drop(notice, "the integration was deleted")
            return False, None
        except Refusal as refusal:
            await self._drop(notice, refusal.detail or refusal.reason.code)
            return False, None
        except ScepServerError as error:
            log.warning("notice %s to integration %s was not taken: %s", notice.id, notice.integration, error)
            await self._later(notice, error)
            return False, error
        await self._ledger.notice_told(notice.id, ())
        self._metrics.notices.inc("told")
        return True, None

    async def _later(self, notice: Notice, fault: ScepServerError) -> None:
        now = self._clock()
        if now - notice.at > GIVE_UP:
            await self._drop(notice, "not taken within three days")
            return
        asked = timedelta(seconds=getattr(fault, "retry_after", None) or 0)
        wait = min(max(FIRST_WAIT * 2 ** min(notice.tries, 20), asked), LONGEST_WAIT)
        await self._ledger.notice_later(notice.id, now + wait)
        self._metrics.notices.inc("later")

    async def _drop(self, notice: Notice, why: str) -> None:
        event = Event(
            kind="notice.dropped",
            at=self._clock(),
            integration=notice.integration,
            entry_id=notice.entry_id,
            detail={"notice": notice.id, "kind": notice.kind.value, "why": why},
        )
        await self._ledger.notice_told(notice.id, (event,))
        self._metrics.notices.inc("dropped")
