"""Bring entries that a crash left unfinished to an end (K3), at start and by command.

intended, pickup window over   -> failed: its serial is never signed and never reused
intended, window open          -> left: the client's repeat, or its next poll, signs the recorded tbs
signed                         -> confirmed and released, if its plugin agrees
pending, time over             -> failed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from scep_server.enrollment.issuing import Issuing
from scep_server.enrollment.registry import Registry
from scep_server.enrollment.retransmission import is_live
from scep_server.enrollment.stored_requests import StoredRequests
from scep_server.errors import ScepServerError
from scep_server.interfaces import Issuances
from scep_server.types import Entry, EntryState, Event, Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one run found and did."""

    expired: int = 0
    abandoned: int = 0
    released: int = 0
    left: int = 0


async def reconcile(
    ledger: Issuances,
    registry: Registry,
    issuing: Issuing,
    stored: StoredRequests,
    clock: Callable[[], datetime],
) -> Reconciled:
    """One pass over the unfinished entries. Safe beside running servers and beside other passes."""
    now = clock()
    expired = abandoned = released = left = 0
    # A database that does not answer must not keep the event loop from those who ask for nothing of it.
    for entry in await asyncio.to_thread(ledger.unfinished):
        if entry.state is EntryState.SIGNED:
            done = await _release(entry, registry, issuing, stored)
            released, left = released + done, left + (not done)
        elif is_live(entry, now):
            left += 1
        elif entry.state is EntryState.PENDING:
            await ledger.fail(entry.id, "expired", (_ended("request.expired", entry, now),))
            expired += 1
        else:
            await ledger.fail(entry.id, "abandoned", (_ended("certificate.abandoned", entry, now),))
            abandoned += 1
    return Reconciled(expired, abandoned, released, left)


async def _release(entry: Entry, registry: Registry, issuing: Issuing, stored: StoredRequests) -> bool:
    """True when the entry was released; a plugin that cannot answer now leaves it for the next pass."""
    try:
        active = registry.get(entry.integration)
        await issuing.finish(active, entry, None, lambda: stored.attempt(entry, Source(entry.source)), lambda der: der)
    except (ScepServerError, LookupError) as error:
        log.warning("entry %d stays signed: %s", entry.id, error)
        return False
    return True


def _ended(kind: str, entry: Entry, at: datetime) -> Event:
    detail = {"transaction_id": entry.transaction_id}
    if entry.serial is not None:
        detail["serial"] = f"{entry.serial:x}"
    return Event(kind=kind, at=at, integration=entry.integration, entry_id=entry.id, detail=detail)
