"""What the simulator was sent: every call, without the secrets in it, and what was wrong with it."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

HIDDEN = "<redacted>"
SECRET_FIELD = re.compile(rb"(client_secret|client_assertion)=[^&]*")


@dataclass
class Call:
    """One request and the answer to it."""

    number: int
    time: float
    """Machine time of arrival, seconds since 1970."""
    operation: str
    """A name of codes.OPERATIONS, `elsewhere` for the target of a scripted redirect, or `unknown`."""
    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in lower case; bearer tokens redacted."""
    body: bytes
    """As sent; client_secret and client_assertion redacted."""
    json: Any = None
    """The body parsed, when it was JSON."""
    tenant: str | None = None
    client_id: str | None = None
    violations: list[str] = field(default_factory=list)
    fault: str | None = None
    """Kind of the scripted fault that was applied."""
    status: int | None = None
    """None: not answered (yet)."""
    answer: Any = None
    sent: int = 0
    """Body bytes written, for the oversized fault."""

    def to_json(self) -> dict[str, Any]:
        answer = self.answer.decode("utf-8", "replace") if isinstance(self.answer, bytes) else self.answer
        return asdict(self) | {"body": self.body.decode("utf-8", "replace"), "answer": answer}


class Recorder:
    """All calls, in order of arrival."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._request_ids: set[str] = set()
        self._changed = asyncio.Event()

    def open(self, operation: str, request: web.Request, body: bytes) -> Call:
        """Record a request that just arrived."""
        call = Call(
            number=len(self._calls) + 1,
            time=time.time(),
            operation=operation,
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers=redacted(request),
            body=SECRET_FIELD.sub(rb"\1=" + HIDDEN.encode(), body),
        )
        self._calls.append(call)
        self._changed.set()
        self._changed = asyncio.Event()
        return call

    def calls(self, operation: str | None = None, tenant: str | None = None) -> list[Call]:
        """The calls of one operation and one tenant (its GUID), or of all."""
        return [
            call
            for call in self._calls
            if operation in {None, call.operation} and (tenant is None or tenant == call.tenant)
        ]

    @property
    def violations(self) -> list[str]:
        """Everything that did not keep to the documented shape, each with its fact and the call it was found in."""
        return [f"call {call.number}: {text}" for call in self._calls for text in call.violations]

    def first_use(self, request_id: str) -> bool:
        """False when the GUID was seen before."""
        seen = request_id.lower() in self._request_ids
        self._request_ids.add(request_id.lower())
        return not seen

    async def wait_for(self, operation: str, count: int, seconds: float) -> list[Call]:
        """Until that many calls of the operation have arrived; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while len(found := self.calls(operation)) < count:
                await self._changed.wait()
        return found

    def forget(self) -> None:
        """Drop all calls; request ids stay used."""
        self._calls.clear()


def without_token(answer: Any) -> Any:
    """An answer as it may be kept."""
    return answer | {"access_token": HIDDEN} if isinstance(answer, dict) and "access_token" in answer else answer


def redacted(request: web.Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        shown = value
        if name.lower() in {"authorization", "proxy-authorization", "cookie"}:
            scheme, _, rest = value.partition(" ")
            shown = f"{scheme} {HIDDEN}" if rest else HIDDEN
        known = headers.get(name.lower())
        headers[name.lower()] = shown if known is None else f"{known}, {shown}"
    return headers
