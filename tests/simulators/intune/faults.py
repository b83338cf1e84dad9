"""What can be made to go wrong: a fault per operation and tenant, once, some times, or until it is lifted."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "code",
    "status",
    "delay",
    "hold",
    "cut",
    "cut-mid-body",
    "garbage",
    "oversized",
    "content-type",
    "redirect",
    "answer",
    "omit",
]
INSTEAD = {"code", "status", "garbage", "oversized", "redirect", "answer", "cut"}
"""Kinds that answer without doing the work, unless `effect` says otherwise."""
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Fault:
    """One way to fail; made by the class methods, or from JSON by its fields."""

    kind: Kind
    status: int = 200
    code: str = ""
    message: str = ""
    retry_after: str | None = None
    seconds: float = 0.0
    size: int = 0
    location: str | None = None
    content_type: str = "application/json"
    body: Any = None
    name: str = ""
    effect: bool = False
    """The work is done, only the answer goes wrong: a notification recorded whose answer never arrived."""

    @classmethod
    def with_code(cls, code: str, message: str = "") -> Fault:
        """HTTP 200 with this code (one of the 25, or one nobody knows) and errorDescription."""
        return cls("code", code=code, message=message)

    @classmethod
    def with_status(
        cls,
        status: int,
        *,
        code: str = "InternalError",
        message: str = '{ "_version": 3, "Message": "An internal server error has occurred" }',
        retry_after: str | None = None,
        effect: bool = False,
    ) -> Fault:
        """An HTTP error with the {"error":{"code","message"}} body; retry_after in seconds or as an HTTP date."""
        return cls("status", status=status, code=code, message=message, retry_after=retry_after, effect=effect)

    @classmethod
    def throttled(cls, retry_after: str = "7") -> Fault:
        return cls.with_status(429, code="TooManyRequests", message="Too many requests", retry_after=retry_after)

    @classmethod
    def delayed(cls, seconds: float) -> Fault:
        """The right answer, late."""
        return cls("delay", seconds=seconds)

    @classmethod
    def held(cls, *, effect: bool = False) -> Fault:
        """The right answer once Planned.release is called; with `effect` the work is done before the wait."""
        return cls("hold", effect=effect)

    @classmethod
    def cut(cls, *, effect: bool = False) -> Fault:
        """The connection ends before a byte of the answer. Plan two for a client that repeats a GET by itself."""
        return cls("cut", effect=effect)

    @classmethod
    def cut_mid_body(cls) -> Fault:
        """The work is done, the status says so, and the connection ends within the body."""
        return cls("cut-mid-body", effect=True)

    @classmethod
    def garbage(cls) -> Fault:
        """HTTP 200 with a JSON content type and a body that is not JSON."""
        return cls("garbage")

    @classmethod
    def oversized(cls, size: int = 64 * MEBIBYTE) -> Fault:
        """HTTP 200 with valid JSON of about `size` bytes, chunked, so that no length announces it."""
        return cls("oversized", size=size)

    @classmethod
    def as_content_type(cls, content_type: str = "text/html; charset=utf-8") -> Fault:
        """The right answer under another content type."""
        return cls("content-type", content_type=content_type)

    @classmethod
    def redirect(cls, location: str | None = None, status: int = 307) -> Fault:
        """To `location`, by default to a place of the simulator's that records `elsewhere`."""
        return cls("redirect", location=location, status=status)

    @classmethod
    def answering(
        cls, status: int, body: Any, content_type: str = "application/json", *, effect: bool = False
    ) -> Fault:
        """Exactly this; a str is sent as it stands, anything else as JSON."""
        return cls("answer", status=status, body=body, content_type=content_type, effect=effect)

    @classmethod
    def omitting(cls, name: str) -> Fault:
        """On `token`, without this role; on `endpoints`, without this service."""
        return cls("omit", name=name)

    @property
    def instead(self) -> bool:
        """Answers without the work having been done."""
        return self.kind in INSTEAD and not self.effect


@dataclass
class Planned:
    """A fault waiting for its calls."""

    number: int
    operation: str
    fault: Fault
    times: int | None
    """Calls it still applies to; None: until lifted."""
    tenant: str | None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a call has met the fault."""
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let every held call go on, now and later."""
        self._released.set()

    async def released(self) -> None:
        await self._released.wait()


class FaultDesk:
    """The faults planned, in the order they were."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._planned: list[Planned] = []
        self._met: list[Planned] = []

    def plan(self, operation: str, fault: Fault, times: int | None, tenant: str | None) -> Planned:
        planned = Planned(next(self._numbers), operation, fault, times, tenant)
        self._planned.append(planned)
        return planned

    def meet(self, operation: str, tenant: str | None) -> Planned | None:
        """The first fault for this call, used up by one."""
        for planned in self._planned:
            if planned.operation == operation and planned.tenant in {None, tenant}:
                if planned.times is not None:
                    planned.times -= 1
                    if planned.times == 0:
                        self._planned.remove(planned)
                self._met.append(planned)
                planned.arrived.set()
                return planned
        return None

    def lift(self, number: int | None = None) -> None:
        """Remove one planned fault, or all; calls that are held go on."""
        for planned in [*self._planned, *self._met]:
            if number in {None, planned.number}:
                planned.release()
        self._planned = [planned for planned in self._planned if number not in {None, planned.number}]

    def release(self, number: int) -> None:
        """Let the calls held by a planned fault go on."""
        for planned in [*self._planned, *self._met]:
            if planned.number == number:
                planned.release()
