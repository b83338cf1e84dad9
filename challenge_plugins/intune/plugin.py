"""Intune as the judge: it validates, we sign and record, it is told, and only then is the certificate released."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from cryptography import x509

from challenge_plugins.intune.bearer import BearerRequests
from challenge_plugins.intune.credential import Credential
from challenge_plugins.intune.diagnosis import Diagnosis
from challenge_plugins.intune.discovery import Discovery
from challenge_plugins.intune.revocation import PkiConnector
from challenge_plugins.intune.service import IntuneServices
from challenge_plugins.intune.settings import IntuneSettings
from challenge_plugins.intune.tokens import Tokens
from challenge_plugins.intune.validation import ScepValidation
from scep_server.errors import Fault, Reason, Refusal
from scep_server.interfaces import Host
from scep_server.types import Attempt, Certificate, Finding, Grant, RevocationRequest, RevocationResult

COUNTERS: Final = {
    "validated": "requests that Intune said yes to",
    "denied": "requests and certificates that Intune said no to",
    "confirmed": "certificates that Intune was told of, and took, before their release",
    "failures_reported": "failures after Intune's yes that it was told of",
    "faults": "calls to Entra ID, Graph or Intune that came to nothing",
    "pulls": "times Intune was asked for certificates to revoke",
    "uploads": "times Intune was told what became of them",
    "tokens": "access tokens that Entra ID issued",
    "discoveries": "times Graph was asked where the services are",
}
_INTUNE_SAID_NO: Final = frozenset({Reason.DENIED, Reason.CHALLENGE, Reason.CHALLENGE_SPENT, Reason.CHALLENGE_EXPIRED})


class IntunePlugin:
    """The live plugin of one integration, with revocation from Intune off."""

    confirm_blocks_release = True

    def __init__(self, settings: IntuneSettings, credential: Credential, host: Host) -> None:
        self._host = host
        outbound, clock = host.outbound, host.clock
        self._tokens = Tokens(settings, credential, outbound, clock, lambda: host.count("tokens"))
        requests = BearerRequests(outbound, self._tokens, clock, settings.timeout_seconds)
        self._discovery = Discovery(settings, requests, lambda: host.count("discoveries"))
        services = IntuneServices(settings, requests, self._discovery)
        issuer_name = settings.issuer_name or _subject(host)
        ca_configuration = settings.ca_configuration or host.integration
        self._validation = ScepValidation(
            services, issuer_name=issuer_name, ca_configuration=ca_configuration, caller_info=settings.caller_info
        )
        self._connector = PkiConnector(services, issuer_name=issuer_name, ca_configuration=ca_configuration)
        self._diagnosis = Diagnosis(settings, credential, self._tokens, self._discovery, self._connector, clock)

    async def redeem(self, attempt: Attempt) -> Grant:
        """Ask validateRequest. Every request is Intune's to judge, one without a challenge too."""
        async with self._counted("validated"):
            await self._validation.validate(attempt)
        return Grant(reference=attempt.transaction_id)

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Tell successNotification; the same one may be told again. Refusal: the certificate must never leave."""
        async with self._counted("confirmed"):
            await self._validation.succeeded(attempt, certificate)

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Tell failureNotification, but never for what Intune itself refused: it asks not to be told that."""
        if refusal.reason in _INTUNE_SAID_NO:
            return
        async with self._counted("failures_reported"):
            await self._validation.failed(attempt, refusal)

    async def check(self) -> Sequence[Finding]:
        """Walks tokens, discovery and permissions, with nothing learned before."""
        self._tokens.forget()
        self._discovery.clear()
        return await self._diagnosis.findings()

    @asynccontextmanager
    async def _counted(self, event: str) -> AsyncIterator[None]:
        try:
            yield
        except Refusal:
            self._host.count("denied")
            raise
        except Fault:
            self._host.count("faults")
            raise
        self._host.count(event)


class RevokingIntunePlugin(IntunePlugin):
    """The same, and the house asks it for certificates to revoke."""

    def __init__(self, settings: IntuneSettings, credential: Credential, host: Host) -> None:
        super().__init__(settings, credential, host)
        self.pull_seconds = settings.revocation_poll_seconds

    async def revocation_requests(self) -> Sequence[RevocationRequest]:
        """What waits for this connection, at most a batch."""
        async with self._counted("pulls"):
            return await self._connector.download()

    async def revocations_done(self, results: Sequence[RevocationResult]) -> None:
        """Tell Intune; Fault when it did not record it."""
        async with self._counted("uploads"):
            await self._connector.upload(results)


def _subject(host: Host) -> str:
    return x509.load_der_x509_certificate(host.issuer()[0].der).subject.rfc4514_string()
