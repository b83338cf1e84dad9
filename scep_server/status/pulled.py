"""Revocations that somebody else asks for: fetched by a plugin, decided by the ledger, answered by the plugin.

A crash between revoking and answering is harmless: what was not answered is fetched again, and a certificate that is
revoked already is answered as such.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from cryptography.x509 import ReasonFlags

from scep_server.errors import LedgerUnavailable
from scep_server.interfaces import Issuances, Revocations
from scep_server.metrics import Metrics
from scep_server.status.revoke import revoke
from scep_server.types import (
    EntryState,
    RevocationOutcome,
    RevocationRequest,
    RevocationResult,
)

log = logging.getLogger(__name__)

MAX_BATCHES: Final = 100
"""Batches of one run; a service that never comes to an end must not keep a process busy."""


class Puller(Protocol):
    """A plugin that knows of revocations, behind its guard."""

    async def revocation_requests(self) -> Sequence[RevocationRequest]:
        """A batch of what waits."""
        ...

    async def revocations_done(self, results: Sequence[RevocationResult]) -> None:
        """Tell the results."""
        ...


class PullLedger(Issuances, Revocations, Protocol):
    """The two parts of the ledger that are needed."""


@dataclass(frozen=True, slots=True)
class Pulling:
    """Revokes what the service of one integration asks for: certificates of this integration, and no other."""

    integration: str
    issuer_id: str
    plugin: Puller
    ledger: PullLedger
    metrics: Metrics
    clock: Callable[[], datetime]

    async def run(self) -> Sequence[RevocationResult]:
        """Every batch until none is left. Fault when the service or the ledger cannot."""
        results: list[RevocationResult] = []
        answered: set[str] = set()
        for _ in range(MAX_BATCHES):
            requests = await self.plugin.revocation_requests()
            if not requests or answered.issuperset(request.context for request in requests):
                break
            batch = [await self._decide(request) for request in requests]
            await self.plugin.revocations_done(batch)
            answered.update(request.context for request in requests)
            results += batch
        return results

    async def _decide(self, request: RevocationRequest) -> RevocationResult:
        outcome = await self._revoke(request)
        self.metrics.revocations_pulled.inc(outcome.value)
        return RevocationResult(request, outcome)

    async def _revoke(self, request: RevocationRequest) -> RevocationOutcome:
        if request.serial is None:
            return RevocationOutcome.UNREADABLE
        try:
            entry = await asyncio.to_thread(self.ledger.find_certificate, self.issuer_id, request.serial)
            if entry is None or entry.integration != self.integration or entry.certificate is None:
                return RevocationOutcome.NOT_FOUND
            if entry.state is EntryState.REVOKED:
                return RevocationOutcome.ALREADY_REVOKED
            reason = ReasonFlags.cessation_of_operation
            source = f"pulled:{self.integration}"
            await revoke(self.ledger, self.issuer_id, request.serial, reason, self.clock(), source=source)
        except LedgerUnavailable as error:
            log.warning("a revocation that %s was asked for waits: %s", self.integration, error)
            return RevocationOutcome.RETRY
        return RevocationOutcome.REVOKED
