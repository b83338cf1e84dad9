"""How many requests one worker works on at once."""

from __future__ import annotations

from types import TracebackType

from scep_server.metrics import Metrics
from scep_server.web.errors import Busy
from scep_server.web.limits import Limits


class InFlight:
    """Places for requests that are being worked on: `with places:` takes one, or raises Busy."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._taken = 0

    def __enter__(self) -> None:
        if self._taken >= self._limits.in_flight:
            self._metrics.faults.inc("busy")
            raise Busy(f"{self._taken} requests are in flight", retry_after=self._limits.retry_after)
        self._taken += 1
        self._metrics.in_flight.add(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._taken -= 1
        self._metrics.in_flight.add(-1)
