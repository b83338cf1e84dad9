"""From an authorised request to a released certificate, in two commits.

COMMIT 1 records the exact tbsCertificate and spends the challenge; only then is anything signed. COMMIT 2 records the
certificate; only then may anybody see it. Every step can be resumed by the same request after a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509

from scep_server.codec.names import rfc4514
from scep_server.enrollment.authorization import Authorization
from scep_server.enrollment.notices import notice_of_entry
from scep_server.enrollment.offload import Offload
from scep_server.enrollment.registry import ActiveIntegration
from scep_server.enrollment.stored_requests import StoredRequests
from scep_server.errors import Fault, Reason, Refusal, SerialCollision
from scep_server.interfaces import CertificateAuthority, Issuances, Opened
from scep_server.metrics import Metrics
from scep_server.types import (
    Attempt,
    Certificate,
    CertificationRequest,
    Entry,
    EntryState,
    Event,
    Intent,
    IssueOrder,
    MessageType,
    NoticeKind,
    Opening,
    Prepared,
    SealedRequest,
    Source,
)

MAX_SERIAL_COLLISIONS = 5
"""128 random bits do not collide; five in a row mean a broken random source, which is a fault, not bad luck."""

Packing = Callable[[bytes], bytes]
"""Blocking: certificate DER to the bytes of the reply that carries it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One request on its way to a certificate."""

    active: ActiveIntegration
    transaction_id: str
    message_type: MessageType
    signer_key: bytes
    request: CertificationRequest
    source: Source
    received_at: datetime
    renews: bool = False

    def attempt(self) -> Attempt:
        """The same, as a challenge plugin sees it."""
        return Attempt(
            integration=self.active.name,
            transaction_id=self.transaction_id,
            message_type=self.message_type,
            request=self.request,
            source=self.source,
            received_at=self.received_at,
            renews=self.renews,
        )


def new_candidate(
    active: ActiveIntegration,
    sealed: SealedRequest,
    request: CertificationRequest,
    source: Source,
    received_at: datetime,
    *,
    renews: bool = False,
) -> Candidate:
    """The candidate that a read request makes. renews: a certificate whose possession is verified."""
    return Candidate(
        active=active,
        transaction_id=sealed.reply_to.transaction_id,
        message_type=sealed.message_type,
        signer_key=sealed.signer.key_hash,
        request=request,
        source=source,
        received_at=received_at,
        renews=renews,
    )


class Issuing:
    """The only caller of CertificateAuthority.issue."""

    def __init__(
        self,
        *,
        ledger: Issuances,
        authority: CertificateAuthority,
        stored: StoredRequests,
        metrics: Metrics,
        offload: Offload,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._stored = stored
        self._metrics = metrics
        self._authority = authority
        self._run = offload
        self._clock = clock

    async def open(
        self,
        candidate: Candidate,
        authorization: Authorization,
        order: IssueOrder,
        prepared: Prepared,
        replaces: int | None,
    ) -> Opened:
        """COMMIT 1. The entry is intended, or pending where a person decides first.

        replaces: the transaction's newest entry that was judged to be over; any other live one comes back instead.
        """
        pending = candidate.active.options.approval == "manual" or authorization.grant.pending
        for _ in range(MAX_SERIAL_COLLISIONS):
            opening = self._opening(candidate, authorization, order, None if pending else prepared, replaces)
            try:
                opened = await self._ledger.open(opening, (_opened_event(opening, order),))
            except SerialCollision:
                prepared = await self._run(lambda: self._authority.prepare(order))
                continue
            if not _goes_by_another_id(opened, opening):
                return opened
            waiting = replace(opening, prepared=None)
            return await self._ledger.follow(opened.entry.id, waiting, (_opened_event(waiting, order),))
        raise Fault("no free serial number after several tries: the random source is broken")

    async def finish(
        self,
        active: ActiveIntegration,
        entry: Entry,
        intent: Intent | None,
        attempt: Callable[[], Attempt],
        pack: Packing,
    ) -> bytes:
        """Bring an entry to `issued` from wherever it stands, and give the packed reply.

        intent: of a fresh COMMIT 1; None resumes the entry. attempt: asked for only when a plugin must confirm.
        """
        if entry.state is EntryState.INTENDED:
            entry, reply = await self._sign(active, entry, intent, pack)
        else:
            reply = None
        if entry.certificate is None:
            raise Fault(f"entry {entry.id} is {entry.state.value} without a certificate")
        if entry.state is EntryState.SIGNED:
            entry = await self._release(active, entry, attempt)
        if entry.state is not EntryState.ISSUED or entry.certificate is None:
            raise Fault(f"entry {entry.id} became {entry.state.value} meanwhile")
        certificate = entry.certificate
        return reply if reply is not None else await self._run(lambda: pack(certificate))

    async def _sign(
        self, active: ActiveIntegration, entry: Entry, intent: Intent | None, pack: Packing
    ) -> tuple[Entry, bytes | None]:
        """Sign the recorded tbs and record the certificate. The reply is packed on the same trip to the pool; it
        leaves only after COMMIT 2, and is packed anew when another request of this transaction was faster.
        """
        intent = intent or await self._ledger.resume(entry.id)
        if intent is None:
            raise Fault(f"entry {entry.id} moved on meanwhile", retry_after=1)
        # What another integration of this name let in is signed, since that is promised, and then withdrawn.
        blocks = active.judge().confirm_blocks_release or not active.let_in(entry)
        certificate, reply = await self._run(lambda: self._issue(intent, pack))
        event = Event(
            kind="certificate.issued" if not blocks else "certificate.signed",
            at=self._clock(),
            integration=entry.integration,
            entry_id=entry.id,
            source=entry.source,
            detail={"serial": f"{certificate.serial:x}", "transaction_id": entry.transaction_id},
        )
        notices = () if blocks else notice_of_entry(active, entry, NoticeKind.ISSUED, event.at)
        recorded = await self._ledger.sign(entry.id, certificate, not blocks, (event,), notices)
        self._metrics.issued.inc("enrolment" if entry.renews is None else "renewal")
        return recorded, reply if recorded.certificate == certificate.der else None

    def _issue(self, intent: Intent, pack: Packing) -> tuple[Certificate, bytes]:
        certificate = self._authority.issue(intent)
        return certificate, pack(certificate.der)

    async def _release(self, active: ActiveIntegration, entry: Entry, attempt: Callable[[], Attempt]) -> Entry:
        if not active.let_in(entry):
            # Who had to confirm this certificate is asked no more.
            gone = Refusal(Reason.UNCONFIRMED, "the integration that asked for it was deleted")
            await self.withdraw(None, entry, None, gone)
            raise gone
        asked = await self._run(attempt)
        try:
            await active.judge().confirm(asked, recorded_certificate(entry))
        except Refusal as refusal:
            await self.withdraw(active, entry, asked, refusal)
            raise
        event = Event(
            kind="certificate.issued",
            at=self._clock(),
            integration=entry.integration,
            entry_id=entry.id,
            source=asked.source.address,
            detail={"serial": f"{entry.serial or 0:x}", "transaction_id": entry.transaction_id},
        )
        return await self._ledger.release(entry.id, (event,))

    async def withdraw(
        self, active: ActiveIntegration | None, entry: Entry, attempt: Attempt | None, refusal: Refusal
    ) -> None:
        """Revoke a signed certificate that will never be released. Nobody has it, but it is on record as signed.

        Fault when it was released meanwhile: its device asked twice, and the plugin agreed to the other request.
        """
        at = self._clock()
        event = Event(
            kind="certificate.withdrawn",
            at=at,
            integration=entry.integration,
            entry_id=entry.id,
            source=entry.source,
            detail={
                "serial": f"{entry.serial or 0:x}",
                "transaction_id": entry.transaction_id,
                "reason": refusal.reason.code,
                "detail": refusal.detail,
            },
            security=True,
        )
        now = await self._ledger.withdraw(entry.id, at, (event,))
        if now.state is EntryState.ISSUED:
            raise Fault(f"entry {entry.id} was released meanwhile", retry_after=1)
        if active is not None and active.plugin is not None and attempt is not None:
            await active.plugin.report_failure(attempt, refusal)

    def _opening(
        self,
        candidate: Candidate,
        authorization: Authorization,
        order: IssueOrder,
        prepared: Prepared | None,
        replaces: int | None,
    ) -> Opening:
        options = candidate.active.options
        window = options.pickup_window if prepared is not None else options.pending_window
        keep = prepared is None or candidate.active.judge().confirm_blocks_release
        name, transaction_id = candidate.active.name, candidate.transaction_id
        return Opening(
            integration=name,
            transaction_id=transaction_id,
            message_type=candidate.message_type,
            signer_key=candidate.signer_key,
            request_key=candidate.request.key_hash,
            request_hash=candidate.request.info_hash,
            request=self._stored.seal(name, candidate.request, order.san) if keep else None,
            subject=rfc4514(candidate.request.subject),
            source=candidate.source.address,
            received_at=candidate.received_at,
            pickup_until=candidate.received_at + timedelta(seconds=window),
            consumes=authorization.grant.consumes,
            reference=authorization.grant.reference,
            renews=authorization.renews,
            prepared=prepared,
            replaces=replaces,
            uses=authorization.grant.uses,
        )


def _goes_by_another_id(opened: Opened, opening: Opening) -> bool:
    """True: a request that waits was sent again under a new transaction id, and will be polled for by that."""
    waits = opened.existing and opened.entry.state is EntryState.PENDING
    return waits and opened.entry.transaction_id != opening.transaction_id


def recorded_certificate(entry: Entry) -> Certificate:
    """The Certificate value of an entry that has one."""
    if entry.certificate is None or entry.serial is None or entry.issuer_id is None:
        raise Fault(f"entry {entry.id} has no certificate")
    if entry.not_before is None or entry.not_after is None:
        raise Fault(f"entry {entry.id} has no validity")
    subject = x509.load_der_x509_certificate(entry.certificate).subject.public_bytes()
    return Certificate(entry.certificate, entry.issuer_id, entry.serial, subject, entry.not_before, entry.not_after)


def _opened_event(opening: Opening, order: IssueOrder) -> Event:
    detail: dict[str, object] = {
        "transaction_id": opening.transaction_id,
        "subject": opening.subject,
        "public_key_sha256": opening.request_key.hex(),
        "message_type": int(opening.message_type),
    }
    if order.dropped:
        detail["dropped"] = list(order.dropped)
    if opening.renews is not None:
        detail["renews_entry"] = opening.renews
    if opening.prepared is not None:
        detail["serial"] = f"{opening.prepared.serial:x}"
    return Event(
        kind="request.pending" if opening.prepared is None else "certificate.intended",
        at=opening.received_at,
        integration=opening.integration,
        source=opening.source,
        detail=detail,
    )
