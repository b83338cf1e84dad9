"""A circuit breaker: a Redis that does not answer is left alone, so that nobody waits for it (F20)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from scep_server.errors import CacheUnavailable

FAILURES: Final = 5
"""In a row; a restart or a failover costs a connection or two, and must not count as an outage."""
PROBE_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class Breaker:
    """Closed: every call goes through. Open: none does, but one every PROBE_SECONDS; the first that succeeds closes it.

    A probe is a call like any other. While it is under way the next one is already due later, so there is never a
    second one at the same time, and a probe that was abandoned needs no tidying up.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._probe_at: float | None = None

    @property
    def open(self) -> bool:
        """Calls are refused."""
        return self._probe_at is not None

    def admit(self) -> None:
        """Return when a call may be made. CacheUnavailable with the seconds to wait when it may not."""
        if self._probe_at is None:
            return
        now = self._clock()
        if now < self._probe_at:
            raise CacheUnavailable(
                f"Redis failed {self._failures} times in a row and is left alone for now",
                retry_after=math.ceil(self._probe_at - now),
            )
        self._probe_at = now + PROBE_SECONDS

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures = 0
        if self.open:
            self._probe_at = None
            log.warning("Redis answers again")

    def failed(self, cause: str) -> None:
        """A call got no answer; cause is for the log."""
        self._failures += 1
        if self._failures < FAILURES:
            return
        if not self.open:
            log.error(
                "Redis does not answer: %s; one-time challenges are answered 503 until it does, and it is tried every"
                " %.0f seconds",
                cause,
                PROBE_SECONDS,
            )
        self._probe_at = self._clock() + PROBE_SECONDS
