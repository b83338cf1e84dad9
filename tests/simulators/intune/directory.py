"""Who exists: tenants, their applications, the roles granted to them and the tokens minted for them."""

from __future__ import annotations

import base64
import json
import secrets
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from cryptography import x509

from tests.simulators.intune.codes import GRAPH_ROLE, INTUNE_RESOURCE, SCEP_ROLE

Audience = Literal["graph", "intune"]
ROLE_AUDIENCE: dict[str, Audience] = {GRAPH_ROLE: "graph", SCEP_ROLE: "intune"}


@dataclass
class Clock:
    """The simulator's time: the machine's plus what a test added."""

    shift: float = 0.0
    """Seconds ahead of the machine."""

    def now(self) -> float:
        return time.time() + self.shift


@dataclass
class App:
    """One application registration. Change a field and the next request sees it."""

    client_id: str
    secret: str | None
    certificates: list[x509.Certificate] = field(default_factory=list)
    roles: set[str] = field(default_factory=lambda: {SCEP_ROLE, GRAPH_ROLE})
    secret_expired: bool = False
    consented: bool = True
    token_seconds: int = 3599
    """Lifetime of the tokens minted from now on."""


@dataclass
class Tenant:
    """One Entra tenant with its Intune. Change a field and the next request sees it."""

    tenant_id: str
    domains: tuple[str, ...]
    unit: str
    """Scale unit its services live in; IntuneSimulator.move changes it."""
    apps: dict[str, App] = field(default_factory=dict)
    intune_resource: str = INTUNE_RESOURCE
    """Resource of the Intune scope; the scope is this plus `/.default`, so two slashes."""
    accepts_single_slash: bool = False
    licensed: bool = True
    opaque_tokens: bool = False
    name_key: Literal["providerName", "serviceName"] = "providerName"
    name_case: Literal["documented", "lower", "upper"] = "documented"
    key_case: Literal["camel", "pascal"] = "camel"
    """Case of the keys in the services' answers: readers must not mind."""
    upload_value: Any = True
    """What uploadRevocationResults answers as `value`; "true" is a known variant."""
    moved_status: int = 404
    """Answer of a unit the tenant has left."""


@dataclass(frozen=True)
class Token:
    """An access token as the services see it; its roles never change."""

    text: str
    tenant_id: str
    client_id: str
    audience: Audience
    roles: frozenset[str]
    expires_at: float
    """Machine time, seconds since 1970."""


class Directory:
    """All tenants and all tokens."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.tenants: dict[str, Tenant] = {}
        self._tokens: dict[str, Token] = {}
        self._revoked: set[str] = set()

    def tenant(self, name: str) -> Tenant | None:
        """By GUID or by domain name, both without regard to case."""
        wanted = name.lower()
        for tenant in self.tenants.values():
            if wanted == tenant.tenant_id or wanted in tenant.domains:
                return tenant
        return None

    def mint(self, tenant: Tenant, app: App, audience: Audience, roles: Iterable[str]) -> Token:
        """A token with those of the roles that belong to its audience."""
        now = time.time()
        held = frozenset(role for role in roles if ROLE_AUDIENCE[role] == audience)
        claims = {
            "aud": audience,
            "tid": tenant.tenant_id,
            "appid": app.client_id,
            "iat": int(now),
            "exp": int(now) + app.token_seconds,
            "uti": uuid.uuid4().hex,
        } | ({"roles": sorted(held)} if held else {})
        text = secrets.token_urlsafe(96) if tenant.opaque_tokens else _compact(claims)
        token = Token(text, tenant.tenant_id, app.client_id, audience, held, now + app.token_seconds)
        self._tokens[text] = token
        return token

    def token(self, text: str) -> Token | None:
        return self._tokens.get(text)

    def revoke_tokens(self, tenant: Tenant | None = None) -> None:
        """Every token out there stops working at once, as after a change of the tenant's policy."""
        self._revoked |= {
            text for text, token in self._tokens.items() if tenant is None or token.tenant_id == tenant.tenant_id
        }

    def usable(self, token: Token) -> bool:
        """Not revoked and, by the simulator's clock, not expired."""
        return token.text not in self._revoked and self._clock.now() < token.expires_at

    def owner(self, token: Token) -> Tenant:
        return self.tenants[token.tenant_id]


def _compact(claims: dict[str, Any]) -> str:
    parts = ({"typ": "JWT", "alg": "none"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, secrets.token_urlsafe(32)])
