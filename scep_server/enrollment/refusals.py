"""What happens to a no: it is on record before the client hears it, and wrong guesses are counted.

Unauthenticated refusals are coalesced, so that strangers cannot fill the disk; what cannot be recorded is not
answered with a FAILURE but with a Fault, because a device takes FAILURE for final.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from scep_server.audit import RefusalCoalescer
from scep_server.enrollment.limiter import SourceLimiter, TokenBuckets
from scep_server.errors import Malformed, Refusal, TooManyAttempts
from scep_server.interfaces import Issuances
from scep_server.metrics import Metrics
from scep_server.types import Event, Source

QUERIES_PER_MINUTE = 60
"""GetCert and GetCRL signed by nobody's certificate, from one source (R68): their content is public, our RSA is not."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one source may do in a minute, counted for all workers together. Make it before they are forked."""

    guesses: SourceLimiter = field(default_factory=SourceLimiter)
    queries: SourceLimiter = field(default_factory=lambda: SourceLimiter(QUERIES_PER_MINUTE))
    passwords: SourceLimiter = field(default_factory=SourceLimiter)
    """Wrong passwords of those who fetch challenges."""
    tokens: TokenBuckets = field(default_factory=TokenBuckets)
    """What one credential may do in a minute, such as minting."""


class Refusals:
    """Counts and records refusals of one process."""

    def __init__(
        self,
        ledger: Issuances,
        coalescer: RefusalCoalescer,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._coalescer = coalescer
        self._guesses = limits.guesses
        self._queries = limits.queries
        self._metrics = metrics
        self._clock = clock
        self._owed: list[Event] = []
        """What the ledger could not take; nothing new is counted before it is on record."""

    async def refuse(self, integration: str, source: Source, refusal: Refusal) -> None:
        """Record a refusal. TooManyAttempts instead of an answer when this source guesses challenges (N18)."""
        now = self._clock()
        self._metrics.refusals.inc(refusal.reason.code)
        await self._record(
            Event(
                kind="request.refused",
                at=now,
                integration=integration,
                source=source.address,
                detail={
                    "reason": refusal.reason.code,
                    "detail": refusal.detail,
                    "transaction_id": refusal.reply_to.transaction_id if refusal.reply_to else "",
                },
                security=refusal.security,
            ),
            # A window of its own: what a person should look at must not count as a repeat of something harmless.
            f"{refusal.reason.code} (security)" if refusal.security else refusal.reason.code,
        )
        if refusal.guess:
            _take(self._guesses, source, now)

    def limit_query(self, source: Source) -> None:
        """Count a query that anybody may make (R68). TooManyAttempts beyond QUERIES_PER_MINUTE."""
        _take(self._queries, source, self._clock())

    async def malformed(self, integration: str, source: Source, error: Malformed) -> None:
        """Record bytes that no CertRep could answer."""
        self._metrics.refusals.inc("malformed")
        await self._record(
            Event(
                kind="request.malformed",
                at=self._clock(),
                integration=integration,
                source=source.address,
                detail={"reason": "malformed", "detail": str(error)},
            ),
            "malformed",
        )

    async def flush(self, *, everything: bool = False) -> None:
        """Record the counted repeats whose window ended; everything at shutdown."""
        self._owed += self._coalescer.flush() if everything else self._coalescer.due()
        await self._settle()

    async def _record(self, event: Event, reason: str) -> None:
        # Before the coalescer: it would call the next refusal a repeat of one that was never recorded.
        await self._settle()
        self._owed += self._coalescer.refused(event, reason)
        await self._settle()

    async def _settle(self) -> None:
        """Record what is owed; it stays owed when the ledger cannot. Bounded, as the coalescer's windows are."""
        events, self._owed = self._owed, []
        if not events:
            return
        try:
            await self._ledger.record(events)
        except BaseException:
            self._owed = events + self._owed
            raise


def _take(limiter: SourceLimiter, source: Source, now: datetime) -> None:
    wait = limiter.retry_after(source.address, now)
    if wait is not None:
        raise TooManyAttempts(wait)
    limiter.count(source.address, now)
