"""Bring entries that a crash left unfinished to an end (K3), at start and by command.

intended, pickup window over   -> failed: its serial is never signed and never reused
intended, window open          -> left: the client's repeat, or its next poll, signs the recorded tbs
signed                         -> confirmed and released, if its plugin agrees
signed, window over            -> revoked, if its plugin still does not agree: nobody ever saw it
pending, time over             -> failed
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from scep_server.enrollment.issuing import Issuing
from scep_server.enrollment.notices import notice_of_entry
from scep_server.enrollment.registry import ActiveIntegration, Registry
from scep_server.enrollment.retransmission import is_live
from scep_server.enrollment.stored_requests import StoredRequests
from scep_server.errors import Reason, Refusal, ScepServerError
from scep_server.interfaces import Issuances
from scep_server.types import Attempt, Entry, EntryState, Event, NoticeKind, Source

log = logging.getLogger(__name__)

FAULTS: Final = 3
"""Of one integration, after which a pass asks its plugin no more: a service that does not answer takes its time over
each entry. What waits stays for the next pass, and what has waited too long is withdrawn all the same.
"""


@dataclass(slots=True)
class Reconciled:
    """What one run found and did."""

    expired: int = 0
    abandoned: int = 0
    released: int = 0
    withdrawn: int = 0
    left: int = 0


async def reconcile(
    ledger: Issuances,
    registry: Registry,
    issuing: Issuing,
    stored: StoredRequests,
    clock: Callable[[], datetime],
) -> Reconciled:
    """One pass over the unfinished entries. Safe beside running servers and beside other passes."""
    done = Reconciled()
    one = _Pass(ledger, registry, issuing, stored, clock())
    # A database that does not answer must not keep the event loop from those who ask for nothing of it.
    for entry in await asyncio.to_thread(ledger.unfinished):
        if entry.state is EntryState.SIGNED:
            state = await one.release(entry)
            if state is EntryState.SIGNED and not is_live(entry, one.now):
                state = await one.withdraw(entry)
            done.released += state is EntryState.ISSUED
            done.withdrawn += state is EntryState.REVOKED
            done.left += state is EntryState.SIGNED
        elif is_live(entry, one.now):
            done.left += 1
        elif entry.state is EntryState.PENDING:
            await one.fail(entry, "expired", "request.expired")
            done.expired += 1
        else:
            await one.fail(entry, "abandoned", "certificate.abandoned")
            done.abandoned += 1
    return done


@dataclass(frozen=True, slots=True)
class _Pass:
    ledger: Issuances
    registry: Registry
    issuing: Issuing
    stored: StoredRequests
    now: datetime
    faults: Counter[str] = field(default_factory=Counter)
    """By integration."""

    async def release(self, entry: Entry) -> EntryState:
        """Issued when its plugin confirmed it, revoked when it said no; one that cannot answer leaves it signed."""
        if self._is_given_up(entry):
            return EntryState.SIGNED
        try:
            active = self.registry.of(entry)
            await self.issuing.finish(
                active, entry, None, lambda: self.stored.attempt(entry, Source(entry.source)), lambda der: der
            )
        except Refusal:
            return EntryState.REVOKED
        except LookupError as error:
            log.warning("entry %d stays signed: %s", entry.id, error)
            return EntryState.SIGNED
        except ScepServerError as error:
            self.faults[entry.integration] += 1
            log.warning("entry %d stays signed: %s", entry.id, error)
            return EntryState.SIGNED
        return EntryState.ISSUED

    async def withdraw(self, entry: Entry) -> EntryState:
        """Revoked: its plugin did not confirm it within the pickup window."""
        refusal = Refusal(Reason.UNCONFIRMED, "not confirmed within the pickup window")
        try:
            active, attempt = await asyncio.to_thread(self._asked, entry)
            await self.issuing.withdraw(active, entry, attempt, refusal)
        except (ScepServerError, LookupError) as error:
            log.warning("entry %d could not be withdrawn: %s", entry.id, error)
            return EntryState.SIGNED
        return EntryState.REVOKED

    async def fail(self, entry: Entry, note: str, kind: str) -> None:
        """Nothing will come of the entry; its plugin, which had said yes, is told."""
        active, attempt = await asyncio.to_thread(self._asked, entry)
        notices = () if active is None else notice_of_entry(active, entry, NoticeKind.FAILED, self.now, note)
        await self.ledger.fail(entry.id, note, (_ended(kind, entry, self.now),), notices)
        if active is not None and active.plugin is not None and attempt is not None:
            await active.plugin.report_failure(attempt, Refusal(Reason.REJECTED, note))

    def _asked(self, entry: Entry) -> tuple[ActiveIntegration | None, Attempt | None]:
        """Blocking read. The integration and what its plugin was asked, where both are there and it can be told."""
        try:
            active = self.registry.of(entry)
            if self._is_given_up(entry):
                return active, None
            return active, self.stored.attempt(entry, Source(entry.source))
        except LookupError:
            return None, None
        except ScepServerError:
            return active, None

    def _is_given_up(self, entry: Entry) -> bool:
        return self.faults[entry.integration] >= FAULTS


def _ended(kind: str, entry: Entry, at: datetime) -> Event:
    detail = {"transaction_id": entry.transaction_id}
    if entry.serial is not None:
        detail["serial"] = f"{entry.serial:x}"
    return Event(kind=kind, at=at, integration=entry.integration, entry_id=entry.id, detail=detail)
