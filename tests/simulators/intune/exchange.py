"""One request on its way through the simulator: what a service is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.simulators.intune.checks import violation
from tests.simulators.intune.directory import App, Audience, Clock, Directory, Tenant, Token
from tests.simulators.intune.faults import Fault
from tests.simulators.intune.recorder import Call, Recorder


@dataclass(frozen=True)
class Answer:
    """What to write back; a str or bytes body is sent as it stands, anything else as JSON."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"


@dataclass
class Exchange:
    """A recorded request with what has been found out about it so far."""

    request: web.Request
    raw: bytes
    call: Call
    tenant: Tenant | None = None
    app: App | None = None
    token: Token | None = None
    fault: Fault | None = None
    fields: dict[str, str] = field(default_factory=dict)
    """Of a token request."""

    @property
    def where(self) -> dict[str, str]:
        """The variable parts of the path."""
        return dict(self.request.match_info)

    def known(self) -> Tenant:
        """The tenant, for code behind the check of the token."""
        if self.tenant is None:
            raise LookupError("no tenant")
        return self.tenant

    def omitted(self) -> str:
        """What an `omit` fault leaves out, else an empty text."""
        return self.fault.name if self.fault is not None and self.fault.kind == "omit" else ""

    def belongs_to(self, tenant: Tenant | None, client_id: str | None) -> None:
        """Remember whose call it is."""
        self.tenant = tenant
        self.app = tenant.apps.get(client_id or "") if tenant else None
        self.call.tenant = tenant.tenant_id if tenant else None
        self.call.client_id = client_id


@dataclass(frozen=True)
class Operation:
    """What the simulator does for one path."""

    name: str
    admit: Callable[[Exchange], Answer | None]
    """Checks the request, notes violations and whose it is; an answer refuses it."""
    perform: Callable[[Exchange], Answer]
    """Does the work."""
    settle: Callable[[Exchange, Answer | None], None] = lambda _exchange, _answer: None
    """Is told what the caller was really answered; None: nothing it could read."""


def service_error(status: int, code: str, message: str) -> Answer:
    """An error as Graph and the Intune services write it."""
    return Answer(status, {"error": {"code": code, "message": message}})


def bad_request(violations: list[str]) -> Answer:
    return service_error(400, "BadRequest", "; ".join(violations))


class Gate:
    """The check of the bearer token in front of Graph and of the services."""

    def __init__(self, directory: Directory, recorder: Recorder, clock: Clock) -> None:
        self.directory = directory
        self.recorder = recorder
        self.clock = clock

    def admit(self, exchange: Exchange, audience: Audience, fact: str) -> Answer | None:
        """None when the token is good for this audience. An unusable token is refused, a wrong one is a violation."""
        unauthorized = service_error(401, "InvalidAuthenticationToken", "Access token validation failure.")
        scheme, _, text = exchange.request.headers.get("Authorization", "").partition(" ")
        token = self.directory.token(text) if scheme == "Bearer" else None
        if token is None:
            exchange.call.violations.append(violation(fact, f"{scheme or 'no'} token, or one nobody issued"))
            return unauthorized
        exchange.token = token
        exchange.belongs_to(self.directory.owner(token), token.client_id)
        if token.audience != audience:
            exchange.call.violations.append(violation(fact, f"token is for {token.audience}"))
            return unauthorized
        if exchange.call.time >= token.expires_at:
            exchange.call.violations.append(violation("1.1-expiry", "token expired"))
        return None if self.directory.usable(token) and exchange.call.time < token.expires_at else unauthorized
