"""How much of a worker one client may take before it is refused (N9, N22)."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import Self

from scep_server.config import ServerSettings

HANDSHAKES_AT_LEAST = 32
"""TLS handshakes that may be under way beside as many connections as there may be."""
_SPARE_DESCRIPTORS = 64 + HANDSHAKES_AT_LEAST
"""Files a process needs besides its connections: database, logs, listeners, the event loop's own."""


def _room_for_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 10_000
    return most if soft == resource.RLIM_INFINITY else max(16, min(most, soft - _SPARE_DESCRIPTORS))


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds, each for one worker."""

    body: int = 64 * 1024
    request_line: int = 16 * 1024
    header_field: int = 8190
    headers: int = 64
    head: int = 48 * 1024
    """Request line and all headers together."""
    read_timeout: float = 100.0
    """For the whole body of one request (T11)."""
    idle_timeout: float = 15.0
    """Until the next request's head is complete: ends idle connections and slowly dripped heads alike."""
    linger: float = 1.0
    """How long bytes of a refused body are thrown away, so that its sender can still read why."""
    in_flight: int = 64
    """PKIOperations worked on at once; the next one gets 503."""
    retry_after: int = 30
    """Sent with every 503 that names no other time."""
    connections: int = field(default_factory=_room_for_connections)

    @classmethod
    def of(cls, server: ServerSettings) -> Self:
        """The operator's choices; what the file cannot say keeps its default."""
        return cls(
            body=server.max_body_bytes,
            request_line=server.max_request_line_bytes,
            head=server.max_request_line_bytes + 32 * 1024,
            read_timeout=server.read_timeout_seconds,
            idle_timeout=max(1, server.keepalive_seconds),
            in_flight=server.max_in_flight,
            retry_after=server.retry_after_seconds,
        )
