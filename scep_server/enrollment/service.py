"""The road of one PKIOperation, from bytes to bytes (RFC 8894 sections 4.3 to 4.6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from scep_server.codec.capabilities import ca_certs
from scep_server.enrollment.answers import Answers
from scep_server.enrollment.authorization import Authorization, authorise
from scep_server.enrollment.issuing import Candidate, Issuing, new_candidate
from scep_server.enrollment.notices import notice_of_attempt
from scep_server.enrollment.offload import Offload
from scep_server.enrollment.queries import CrlSource, polled_entry, queried_certificate, queried_crl
from scep_server.enrollment.reading import (
    Application,
    Locked,
    Query,
    Reader,
    password_hint,
    query_encryption,
    reference_of,
)
from scep_server.enrollment.refusals import Refusals
from scep_server.enrollment.registry import ActiveIntegration, Registry
from scep_server.enrollment.retransmission import resumes
from scep_server.enrollment.stored_requests import StoredRequests
from scep_server.errors import Fault, Malformed, Reason, Refusal
from scep_server.interfaces import CertificateAuthority, Challenges, Issuances, Opened
from scep_server.metrics import Metrics
from scep_server.policy.bindings import check_binding
from scep_server.types import (
    Attempt,
    Entry,
    EntryState,
    Grant,
    IssueOrder,
    MessageType,
    PasswordHint,
    Prepared,
    ReplyEncryption,
    ReplyTo,
    SealedRequest,
    Source,
)

log = logging.getLogger(__name__)

MAX_RACES = 3
"""Times another process may open the same transaction between our look and our commit."""


class Enrollment:
    """What the public listener asks. One instance a process."""

    def __init__(
        self,
        *,
        registry: Registry,
        reader: Reader,
        answers: Answers,
        issuing: Issuing,
        refusals: Refusals,
        stored: StoredRequests,
        ledger: Issuances,
        challenges: Challenges,
        authority: CertificateAuthority,
        crls: CrlSource,
        crl_shards: int,
        scep_certificates: Sequence[bytes],
        metrics: Metrics,
        offload: Offload,
        clock: Callable[[], datetime],
    ) -> None:
        self._registry = registry
        self._reader = reader
        self._answers = answers
        self._issuing = issuing
        self._refusals = refusals
        self._stored = stored
        self._ledger = ledger
        self._challenges = challenges
        self._forgetting: set[asyncio.Task[None]] = set()
        self._authority = authority
        self._issuer_subject = authority.chain()[0].subject
        self._crls = crls
        self._crl_shards = crl_shards
        self._chain_body = ca_certs(scep_certificates)
        self._single_body = ca_certs(scep_certificates[:1])
        self._metrics = metrics
        self._run = offload
        self._clock = clock

    def ca_caps(self, integration: str) -> bytes:
        """GetCACaps body, from memory. LookupError for an unknown integration."""
        return self._registry.get(integration).caps

    def ca_certs(self, integration: str) -> tuple[bytes, str]:
        """GetCACert body and content type, from memory. LookupError for an unknown integration."""
        single = self._registry.get(integration).options.ca_certs == "single"
        return self._single_body if single else self._chain_body

    async def settle(self) -> None:
        """Return when what goes on behind the last answers has ended; at shutdown."""
        await asyncio.gather(*self._forgetting, return_exceptions=True)

    async def pki_operation(self, integration: str, message: bytes, source: Source) -> bytes:
        """One pkiMessage to its CertRep.

        LookupError: unknown integration. Malformed: no CertRep is possible. TooManyAttempts: guessing. Fault: ours.
        """
        active = self._registry.get(integration)
        try:
            return await self._answered(active, message, source)
        except Fault as fault:
            self._metrics.faults.inc(fault.part)
            fault.integration = active.name
            raise

    async def _answered(self, active: ActiveIntegration, message: bytes, source: Source) -> bytes:
        received_at = self._clock()
        try:
            read = await self._run(lambda: self._reader.read(active, message))
            if isinstance(read, Locked):
                read = await self._unlocked(active, read)
            if isinstance(read, Query):
                return await self._query(active, read, source, received_at)
            return await self._enrol(active, read, source, received_at)
        except Malformed as error:
            await self._refusals.malformed(active.name, source, error)
            raise
        except Refusal as refusal:
            return await self._refuse(active.name, source, refusal)

    async def _unlocked(self, active: ActiveIntegration, locked: Locked) -> Application | Query:
        try:
            passwords = await self._candidates(active, locked.hint)
        except Refusal as refusal:
            refusal.reply_to = refusal.reply_to or locked.sealed.reply_to
            raise
        return await self._run(lambda: self._reader.unlock(active, locked, passwords))

    async def _candidates(self, active: ActiveIntegration, hint: PasswordHint) -> Sequence[bytes]:
        """What the client spent before and may be repeating, then what it may be using now."""
        recalled = await active.judge().reveal(hint) if hint.reference else ()
        current = await active.judge().reveal(replace(hint, reference=""))
        return tuple(dict.fromkeys((*recalled, *current)))

    async def _refuse(self, integration: str, source: Source, refusal: Refusal) -> bytes:
        await self._refusals.refuse(integration, source, refusal)
        reply_to = refusal.reply_to
        if reply_to is None:
            raise Malformed(refusal.detail)
        return await self._run(lambda: self._answers.failure(reply_to, refusal))

    async def _enrol(
        self, active: ActiveIntegration, read: Application, source: Source, received_at: datetime
    ) -> bytes:
        reply_to = read.sealed.reply_to
        renewed = read.renewed is not None or (read.resumed is not None and read.resumed.renews is not None)
        candidate = new_candidate(active, read.sealed, read.request, source, received_at, renews=renewed)
        try:
            if read.resumed is not None:
                recorded = self._recorded(read.resumed, candidate)
                return await self._answer(active, read.resumed, recorded, read.encryption, reply_to)
            return await self._open(active, read, candidate)
        except Refusal as refusal:
            refusal.reply_to = refusal.reply_to or reply_to
            raise

    async def _open(self, active: ActiveIntegration, read: Application, candidate: Candidate) -> bytes:
        if not active.integration.enabled:
            raise Refusal(Reason.DISABLED, "integration is disabled")
        if read.order is None or read.prepared is None:
            raise Fault("a new request reached the challenge without an order")
        attempt = candidate.attempt()
        authorization = await authorise(active, attempt, read.renewed)
        try:
            check_binding(read.order, authorization.grant.binding)
            opened = await self._opened(candidate, authorization, read.order, read.prepared, read)
        except Refusal as refusal:
            await self._failed(active, attempt, refusal)
            raise
        if not opened.existing:
            self._spent(active.name, authorization.grant, opened.used_up)
        reply_to, encryption = read.sealed.reply_to, read.encryption
        if opened.intent is None:
            recorded = self._recorded(opened.entry, candidate)
            return await self._answer(active, opened.entry, recorded, encryption, reply_to)
        pack = self._packing(active, reply_to, encryption)
        return await self._issuing.finish(active, opened.entry, opened.intent, candidate.attempt, pack)

    async def _failed(self, active: ActiveIntegration, attempt: Attempt, refusal: Refusal) -> None:
        """The plugin said yes and learns that nothing came of it; neither way changes the answer."""
        await active.judge().report_failure(attempt, refusal)
        notices = notice_of_attempt(active, attempt, self._clock(), refusal.reason.code)
        try:
            if notices:
                await self._ledger.record((), notices)
        except Fault as fault:
            log.warning("integration %s is not told of a refusal: %s", active.name, fault)

    def _spent(self, integration: str, grant: Grant, used_up: Sequence[bytes]) -> None:
        """Count it, and let the store of unspent challenges forget it in its own time: the ledger has decided."""
        if not grant.consumes:
            return
        self._metrics.challenges.inc("spent", len(grant.consumes))
        if used_up:
            task = asyncio.create_task(self._challenges.forget(integration, used_up))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def _opened(
        self,
        candidate: Candidate,
        authorization: Authorization,
        order: IssueOrder,
        prepared: Prepared,
        read: Application,
    ) -> Opened:
        """COMMIT 1; an entry that another process opened meanwhile is judged as if it had been there before."""
        replaces = read.replaces
        for _ in range(MAX_RACES):
            opened = await self._issuing.open(candidate, authorization, order, prepared, replaces)
            if not opened.existing or resumes(opened.entry, read.sealed, read.request, candidate.received_at):
                return opened
            replaces = opened.entry.id
        raise Fault("the transaction keeps changing hands", retry_after=1)

    def _recorded(self, entry: Entry, candidate: Candidate) -> Callable[[], Attempt]:
        """The request as it was judged: a repeat may be signed anew (R74), and who confirms is told of the very bytes
        that it said yes to.
        """
        return lambda: replace(self._stored.attempt(entry, candidate.source), transaction_id=candidate.transaction_id)

    async def _answer(
        self,
        active: ActiveIntegration,
        entry: Entry,
        attempt: Callable[[], Attempt],
        encryption: ReplyEncryption,
        reply_to: ReplyTo,
    ) -> bytes:
        """Answer from an entry, wherever it stands; what is unfinished is finished."""
        if entry.state is EntryState.PENDING:
            return await self._run(lambda: self._answers.pending(reply_to))
        return await self._issuing.finish(active, entry, None, attempt, self._packing(active, reply_to, encryption))

    def _packing(
        self, active: ActiveIntegration, reply_to: ReplyTo, encryption: ReplyEncryption
    ) -> Callable[[bytes], bytes]:
        chain = active.options.reply_chain
        return lambda certificate: self._answers.success(reply_to, certificate, encryption, with_chain=chain)

    async def _query(self, active: ActiveIntegration, query: Query, source: Source, received_at: datetime) -> bytes:
        try:
            if query.sealed.message_type is MessageType.CERT_POLL:
                return await self._poll(active, query, source, received_at)
            if query.sealed.signer.self_issued:
                self._refusals.limit_query(source)
            return await self._run(lambda: self._look_up(active, query))
        except Refusal as refusal:
            refusal.reply_to = refusal.reply_to or query.sealed.reply_to
            raise

    async def _poll(self, active: ActiveIntegration, query: Query, source: Source, received_at: datetime) -> bytes:
        entry = await self._run(lambda: polled_entry(self._ledger, active, query.sealed, received_at))
        encryption = query_encryption(query.sealed, await self._poll_password(active, query.sealed, entry))
        return await self._answer(
            active, entry, lambda: self._stored.attempt(entry, source), encryption, query.sealed.reply_to
        )

    async def _poll_password(self, active: ActiveIntegration, sealed: SealedRequest, entry: Entry) -> bytes | None:
        """What the reply to a poll is encrypted under for a key that cannot decrypt: the challenge of its request while
        that waits, otherwise what the plugin recalls.
        """
        if sealed.signer.can_encrypt:
            return None
        if entry.state is EntryState.PENDING:
            challenge = (await self._run(lambda: self._stored.open(entry))).challenge
            return None if challenge is None else challenge.encode()
        passwords = await active.judge().reveal(password_hint(sealed, reference_of(active, entry)))
        return passwords[0] if passwords else None

    def _look_up(self, active: ActiveIntegration, query: Query) -> bytes:
        asked = query.content
        if asked is None:
            raise Refusal(Reason.NO_SUCH_CERTIFICATE, "query without content")
        encryption = query_encryption(query.sealed, query.password)
        issuer_id, subject = self._authority.issuer_id, self._issuer_subject
        if query.sealed.message_type is MessageType.GET_CERT:
            certificate = queried_certificate(self._ledger, active, asked, issuer_id, subject)
            return self._answers.success(query.sealed.reply_to, certificate, encryption)
        crl = queried_crl(self._ledger, self._crls, asked, issuer_id, subject, self._crl_shards)
        return self._answers.crl(query.sealed.reply_to, crl, encryption)
