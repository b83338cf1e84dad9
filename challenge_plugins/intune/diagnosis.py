"""Tries out a connection step by step, and says of each what is wrong and what mends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from challenge_plugins.intune.credential import ClientCertificate, Credential
from challenge_plugins.intune.discovery import PKI_CONNECTOR, VALIDATION, Discovery
from challenge_plugins.intune.remedies import GRAPH_PERMISSION, INTUNE_PERMISSION, LATER, NO_INTUNE, remedy
from challenge_plugins.intune.revocation import PkiConnector
from challenge_plugins.intune.settings import IntuneSettings
from challenge_plugins.intune.tokens import Tokens
from scep_server.errors import Fault
from scep_server.types import Finding


class Diagnosis:
    """The steps of `integration test`."""

    def __init__(
        self,
        settings: IntuneSettings,
        credential: Credential,
        tokens: Tokens,
        discovery: Discovery,
        connector: PkiConnector,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._credential = credential
        self._tokens = tokens
        self._discovery = discovery
        self._connector = connector
        self._clock = clock

    async def findings(self) -> Sequence[Finding]:
        """One a step. A step that needs what an earlier one did not get is left out."""
        settings = self._settings
        found = [*self._certificate()]
        graph = await self._step("token for Microsoft Graph", self._tokens.get(settings.graph_scope), GRAPH_PERMISSION)
        intune = await self._step("token for Intune", self._tokens.get(settings.intune_scope), INTUNE_PERMISSION)
        found += [graph, intune]
        if not graph.passed:
            return found
        listed = await self._listed("service for SCEP validation", VALIDATION)
        found.append(listed)
        if not listed.passed:
            return found
        connector = await self._listed("service for revocation", PKI_CONNECTOR)
        if connector.passed or settings.revocation:
            found.append(connector)
        if intune.passed and connector.passed:
            found.append(await self._step("permission to use Intune", self._connector.try_out(), INTUNE_PERMISSION))
        return found

    def _certificate(self) -> list[Finding]:
        if not isinstance(self._credential, ClientCertificate):
            return []
        ends_at = self._credential.ends_at
        good = self._clock() < ends_at
        mend = (
            "make a new certificate, upload it to the app, then "
            "`scep-server integration rotate-secret NAME --setting-file client_certificate=FILE`"
        )
        return [Finding("client certificate", good, f"valid until {ends_at:%Y-%m-%d}", "" if good else mend)]

    async def _listed(self, step: str, service: str) -> Finding:
        return await self._step(step, self._discovery.uri(service), GRAPH_PERMISSION, unknown=NO_INTUNE, show=True)

    async def _step(
        self, step: str, work: Awaitable[object], forbidden: str, *, unknown: str = LATER, show: bool = False
    ) -> Finding:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                got = await work
        except Fault as fault:
            mend = remedy(fault, forbidden=forbidden, unknown=unknown)
            return Finding(step, passed=False, text=str(fault), remedy=mend)
        except TimeoutError:
            text = f"no answer within {self._settings.timeout_seconds:g} s"
            return Finding(step, passed=False, text=text, remedy=LATER)
        return Finding(step, passed=True, text=str(got) if show else "granted")
