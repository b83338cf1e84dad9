"""An operator decides about pending requests (RFC 8894 section 2.5, R69 to R75).

Approving issues: the process that approves writes both commits itself, so that an approval never waits for a server,
and the compare-and-set on the pending row lets one of many approvers win.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from scep_server.enrollment.issuing import MAX_SERIAL_COLLISIONS, Issuing
from scep_server.enrollment.notices import notice_of_entry
from scep_server.enrollment.registry import ActiveIntegration, Registry
from scep_server.enrollment.retransmission import REJECTED, is_live
from scep_server.enrollment.stored_requests import StoredRequests
from scep_server.errors import Fault, Reason, Refusal, ScepServerError, SerialCollision
from scep_server.interfaces import CertificateAuthority, Issuances, Listings
from scep_server.policy.orders import make_order
from scep_server.types import Entry, EntryState, Event, NoticeKind, Source


class NotPendingError(ScepServerError):
    """The request is unknown, expired, or decided already. The text says which."""


class Approval:
    """Approves and rejects."""

    def __init__(
        self,
        *,
        ledger: Issuances,
        listings: Listings,
        registry: Registry,
        issuing: Issuing,
        authority: CertificateAuthority,
        stored: StoredRequests,
        clock: Callable[[], datetime],
        forbidden_keys: frozenset[bytes],
        forbidden_subjects: frozenset[bytes],
    ) -> None:
        self._ledger = ledger
        self._listings = listings
        self._registry = registry
        self._issuing = issuing
        self._authority = authority
        self._stored = stored
        self._clock = clock
        self._forbidden_keys = forbidden_keys
        self._forbidden_subjects = forbidden_subjects

    async def approve(self, entry_id: int, operator: str) -> Entry:
        """Issue the certificate of a pending request; the issued entry.

        NotPendingError when there is nothing to decide any more, Refusal when policy refuses the request today,
        LookupError when its integration was deleted.
        """
        now = self._clock()
        entry = self._pending(entry_id, now)
        active = self._registry.of(entry)
        self._check_renewed(entry)
        request = self._stored.open(entry)
        order = make_order(
            request,
            active.options,
            now,
            forbidden_keys=self._forbidden_keys,
            forbidden_subjects=self._forbidden_subjects,
        )
        if not self._stored.was_granted(entry, order.san):
            raise Refusal(Reason.SAN, "other alternative names would be certified now than were judged; ask anew")
        # Counted from now: after an approval on the last day the device still has to come and poll.
        pickup_until = now + timedelta(seconds=active.options.pending_window)
        for _ in range(MAX_SERIAL_COLLISIONS):
            prepared = self._authority.prepare(order)
            event = _decided("request.approved", entry, now, operator, serial=f"{prepared.serial:x}")
            try:
                intent = await self._ledger.approve(entry_id, prepared, (event,), pickup_until)
            except SerialCollision:
                continue
            if intent is None:
                raise NotPendingError(f"request {entry_id} was decided by somebody else meanwhile")
            return await self._finish(entry_id)
        raise Fault("no free serial number after several tries: the random source is broken")

    async def reject(self, entry_id: int, operator: str, note: str = "") -> Entry:
        """Refuse a pending request for good. NotPendingError when there is nothing to decide any more."""
        now = self._clock()
        entry = self._pending(entry_id, now)
        text = f"{REJECTED}: {note}" if note else REJECTED
        event = _decided("request.rejected", entry, now, operator, note=note)
        active = self._known(entry)
        attempt = None if active is None else self._stored.attempt(entry, Source(entry.source))
        notices = () if active is None else notice_of_entry(active, entry, NoticeKind.FAILED, now, REJECTED)
        if not await self._ledger.reject(entry_id, text, (event,), notices):
            raise NotPendingError(f"request {entry_id} was decided by somebody else meanwhile")
        if active is not None and active.plugin is not None and attempt is not None:
            await active.plugin.report_failure(attempt, Refusal(Reason.REJECTED, text))
        return self._entry(entry_id)

    def _known(self, entry: Entry) -> ActiveIntegration | None:
        """None when it was deleted, or is not loaded: a request can be rejected all the same."""
        try:
            return self._registry.of(entry)
        except LookupError:
            return None

    async def _finish(self, entry_id: int) -> Entry:
        entry = self._entry(entry_id)
        active = self._registry.get(entry.integration)
        await self._issuing.finish(
            active, entry, None, lambda: self._stored.attempt(entry, Source(entry.source)), lambda der: der
        )
        return self._entry(entry_id)

    def _check_renewed(self, entry: Entry) -> None:
        """What a renewal renews must still stand on the day it is approved (R57). Refusal(RENEWAL) otherwise."""
        if entry.renews is None:
            return
        old = self._listings.entry(entry.renews)
        if old is None or old.state is not EntryState.ISSUED:
            state = "gone" if old is None else old.state.value
            raise Refusal(Reason.RENEWAL, f"the certificate to renew is {state} meanwhile", security=True)

    def _pending(self, entry_id: int, now: datetime) -> Entry:
        entry = self._entry(entry_id)
        if entry.state is not EntryState.PENDING:
            raise NotPendingError(f"request {entry_id} is {entry.state.value}, not pending")
        if not is_live(entry, now):
            raise NotPendingError(f"request {entry_id} expired at {entry.pickup_until:%Y-%m-%dT%H:%M:%SZ}")
        return entry

    def _entry(self, entry_id: int) -> Entry:
        entry = self._listings.entry(entry_id)
        if entry is None:
            raise NotPendingError(f"there is no request {entry_id}")
        return entry


def _decided(kind: str, entry: Entry, at: datetime, operator: str, **detail: str) -> Event:
    return Event(
        kind=kind,
        at=at,
        integration=entry.integration,
        entry_id=entry.id,
        source=operator,
        detail={"transaction_id": entry.transaction_id, "subject": entry.subject, **detail},
    )
