"""The simulator a test holds: starts the listeners, offers the verbs that script it, keeps what it was sent."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from cryptography import x509

from tests.simulators.intune.authority import PrivateAuthority
from tests.simulators.intune.challenges import Challenges, DeviceChallenge
from tests.simulators.intune.codes import GRAPH_ROLE, INTUNE_RESOURCE, OPERATIONS, SCEP_ROLE
from tests.simulators.intune.directory import App, Clock, Directory, Tenant
from tests.simulators.intune.exchange import Gate
from tests.simulators.intune.faults import Fault, FaultDesk, Planned
from tests.simulators.intune.feservice import FrontDoor
from tests.simulators.intune.listeners import Listeners
from tests.simulators.intune.recorder import Call, Recorder
from tests.simulators.intune.revocations import RevocationRequest, Revocations
from tests.simulators.intune.routes import application
from tests.simulators.intune.validation import Validation

CHALLENGE_SECONDS = 3600.0
WAIT_SECONDS = 20.0


@dataclass(frozen=True)
class Urls:
    """What an operator would enter in place of Microsoft's addresses."""

    authority: str
    """Ends in a slash; the tenant follows."""
    graph: str
    """Resource without a slash at the end; `/v1.0/…` follows."""
    intune_resource: str
    """Only named in the scope, never called."""


class IntuneSimulator:
    """Entra, Graph and Intune's SCEP services on loopback. Use as an async context manager."""

    def __init__(self, *, state: Path | None = None, port: int = 0) -> None:
        self.authority = PrivateAuthority.create() if state is None else PrivateAuthority.kept_in(state)
        self.clock = Clock()
        self.directory = Directory(self.clock)
        self.recorder = Recorder()
        self.faults = FaultDesk()
        self.challenges = Challenges()
        gate = Gate(self.directory, self.recorder, self.clock)
        door = FrontDoor(gate)
        self.validation = Validation(gate, door, self.challenges)
        self.revocations = Revocations(gate, door)
        self._gate = gate
        self._port = port
        self._listeners = Listeners(self.authority.server_context())
        self._first_unit = ""
        self.urls = Urls("", "", "")

    async def __aenter__(self) -> Self:
        bound = self._listeners.bind(self._port)
        origin = f"https://127.0.0.1:{bound.getsockname()[1]}"
        self.urls = Urls(f"{origin}/entra/", f"{origin}/graph", INTUNE_RESOURCE)
        await self._listeners.start(application(self, self._gate, self._listeners))
        await self._listeners.serve(bound)
        self._first_unit = await self._listeners.open_unit()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.faults.lift()
        await self._listeners.stop()

    @property
    def ca_pem(self) -> bytes:
        """The root a client has to trust."""
        return self.authority.root_pem

    def client_context(self) -> ssl.SSLContext:
        """For a client that takes a context: trusts the simulator's root only."""
        return self.authority.client_context()

    # Who exists.

    def add_tenant(self, *domains: str, tenant_id: str | None = None) -> Tenant:
        tenant = Tenant(
            (tenant_id or str(uuid.uuid4())).lower(), tuple(each.lower() for each in domains), self._first_unit
        )
        self.directory.tenants[tenant.tenant_id] = tenant
        return tenant

    def add_app(
        self,
        tenant: Tenant | str,
        *,
        client_id: str | None = None,
        secret: str | None = None,
        certificates: Iterable[x509.Certificate] = (),
        roles: Iterable[str] = (SCEP_ROLE, GRAPH_ROLE),
    ) -> App:
        """An application with both permissions unless told otherwise; without `secret`, a certificate must serve."""
        app = App(client_id or str(uuid.uuid4()), secret, list(certificates), set(roles))
        self.tenant(tenant).apps[app.client_id] = app
        return app

    def tenant(self, tenant: Tenant | str) -> Tenant:
        """By GUID or domain; KeyError when there is none."""
        found = tenant if isinstance(tenant, Tenant) else self.directory.tenant(tenant)
        if found is None:
            raise KeyError(tenant)
        return found

    # What devices and administrators do.

    def new_challenge(
        self,
        tenant: Tenant | str,
        *,
        device_id: str | None = None,
        profile: str = "profile-1",
        seconds: float = CHALLENGE_SECONDS,
        **rules: Any,
    ) -> DeviceChallenge:
        """A challenge for one device and one profile, good for `seconds`; `rules` are fields of DeviceChallenge."""
        challenge = DeviceChallenge(
            tenant_id=self.tenant(tenant).tenant_id,
            device_id=device_id or str(uuid.uuid4()),
            profile=profile,
            expires_at=self.clock.now() + seconds,
            **rules,
        )
        return self.challenges.add(challenge)

    def request_revocation(
        self, tenant: Tenant | str, serial_number: str, issuer_name: str, ca_configuration: str | None = None
    ) -> RevocationRequest:
        """A pending revocation, its serial number spelled as given."""
        request = RevocationRequest(self.tenant(tenant).tenant_id, serial_number, issuer_name, ca_configuration)
        self.revocations.requests.append(request)
        return request

    def revoke_notified(self, tenant: Tenant | str, transaction_id: str | None = None) -> RevocationRequest:
        """A pending revocation of the last certificate notified (of this transaction), in the words of the notice."""
        tenant_id = self.tenant(tenant).tenant_id
        notice = [
            notification
            for owner, notification in self.validation.notified
            if owner == tenant_id and transaction_id in {None, notification["transactionId"]}
        ][-1]
        return self.request_revocation(
            tenant_id,
            notice["certificateSerialNumber"],
            notice["issuingCertificateAuthority"],
            notice.get("caConfiguration"),
        )

    async def move(self, tenant: Tenant | str, *, old: int | Literal["refused"] = 404) -> str:
        """Move a tenant to a new scale unit. The old one answers `old`, or is closed for all its tenants."""
        moved = self.tenant(tenant)
        left, moved.unit = moved.unit, await self._listeners.open_unit()
        if old == "refused":
            await self._listeners.close_unit(left)
        else:
            moved.moved_status = old
        return moved.unit

    def advance(self, seconds: float) -> None:
        """Let time pass for the services: challenges and tokens expire."""
        self.clock.shift += seconds

    def revoke_tokens(self, tenant: Tenant | str | None = None) -> None:
        """Every token minted so far (for this tenant) is answered 401."""
        self.directory.revoke_tokens(None if tenant is None else self.tenant(tenant))

    # What goes wrong.

    def fail(
        self, operation: str, fault: Fault, *, times: int | None = 1, tenant: Tenant | str | None = None
    ) -> Planned:
        """Plan a fault for the next `times` calls (None: until lifted) of an operation, of one tenant or of any."""
        if operation not in OPERATIONS:
            raise ValueError(f"{operation} is none of {', '.join(OPERATIONS)}")
        return self.faults.plan(operation, fault, times, None if tenant is None else self.tenant(tenant).tenant_id)

    # What was sent.

    def calls(self, operation: str | None = None, tenant: Tenant | str | None = None) -> list[Call]:
        """Every call, in order of arrival, of one operation and one tenant when given."""
        return self.recorder.calls(operation, None if tenant is None else self.tenant(tenant).tenant_id)

    @property
    def violations(self) -> list[str]:
        """What did not keep to the documented shape: `call N: fact: found (the fact's words)`."""
        return self.recorder.violations

    async def wait_for(self, operation: str, count: int = 1, seconds: float = WAIT_SECONDS) -> list[Call]:
        """Until `count` calls of an operation have arrived; raises TimeoutError."""
        return await self.recorder.wait_for(operation, count, seconds)

    def described(self) -> dict[str, Any]:
        """The addresses, as JSON."""
        return asdict(self.urls)
