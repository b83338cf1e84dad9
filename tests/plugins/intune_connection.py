"""An Intune connection under test: the simulator over real HTTPS, the house's own client, and a device that asks."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from challenge_plugins.intune import PLUGIN
from scep_server.interfaces import KeyFile
from scep_server.plugins import GuardedPlugin
from scep_server.types import Attempt, Certificate, CertificationRequest, MessageType, Source
from tests.e2e import identities
from tests.simulators.intune import App, IntuneSimulator, Tenant

TENANT = "contoso.onmicrosoft.com"
SECRET = "s3cret~of-the.App"
SUBJECT = identities.name(("2.5.4.3", "device-1"))


@dataclasses.dataclass
class Connection:
    """One tenant, one app, one integration `corp`."""

    intune: IntuneSimulator
    tenant: Tenant
    app: App
    house: Any
    """HouseUnderTest of conftest.py."""
    options: dict[str, str]

    def settings(self, **options: str) -> Mapping[str, Any]:
        """As stored; options override those that fit."""
        given = {name: text for name, text in {**self.options, **options}.items() if text}
        return PLUGIN.create("corp", given, self.house.keys)[0]

    def load(self, **options: str) -> GuardedPlugin:
        """The live plugin."""
        return self.house.load("intune", self.settings(**options))

    def attempt(self, challenge: str | None = None, transaction_id: str = "TID-1") -> Attempt:
        """A device's request; by default with a challenge that Intune accepts."""
        text = self.intune.new_challenge(self.tenant).text if challenge is None else challenge
        der = identities.certification_request(identities.ec_key(), SUBJECT, challenge=text)
        request = CertificationRequest(der, b"", b"", b"", None, text, (), "")  # type: ignore[arg-type]
        return Attempt("corp", transaction_id, MessageType.PKCS_REQ, request, Source("192.0.2.1"), datetime.now(UTC))

    def operations(self) -> list[str]:
        """What was called, in order."""
        return [call.operation for call in self.intune.calls()]

    def counted(self, event: str) -> float:
        return self.house.counted("intune", event)


def registered(intune: IntuneSimulator) -> tuple[Tenant, App, dict[str, str]]:
    """A tenant with an app of ours in it, and what an operator sets for them."""
    tenant = intune.add_tenant(TENANT)
    app = intune.add_app(tenant, secret=SECRET)
    options = {
        "tenant": TENANT,
        "client_id": app.client_id,
        "client_secret": SECRET,
        "authority": intune.urls.authority,
        "graph_url": intune.urls.graph,
    }
    return tenant, app, options


@asynccontextmanager
async def connection(make_house: Callable[..., Any], folder: Path) -> AsyncIterator[Connection]:
    """A simulator, and a house that trusts it."""
    async with IntuneSimulator() as intune:
        ca_file = folder / "simulator-ca.pem"
        ca_file.write_bytes(intune.ca_pem)
        tenant, app, options = registered(intune)
        yield Connection(intune, tenant, app, make_house(ca_file=ca_file), options)


def leaf(serial: int = 0x0A1B2C3D4E5F) -> tuple[Certificate, x509.Certificate]:
    """A certificate as the house has it and as the simulator compares it."""
    key = identities.ec_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device-1")])
    start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(serial).not_valid_before(start).not_valid_after(start + timedelta(days=90))
    made = builder.sign(key, hashes.SHA256())
    der = made.public_bytes(Encoding.DER)
    return Certificate(der, "issuer", serial, b"", made.not_valid_before_utc, made.not_valid_after_utc), made


def app_pem(*, days: int = 30, key: Any = None) -> tuple[str, x509.Certificate]:
    """What client_certificate takes, and the certificate to upload to the app."""
    key = identities.rsa_key() if key is None else key
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scep-server")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now - timedelta(days=60))
    made = builder.not_valid_after(now + timedelta(days=days)).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return (made.public_bytes(Encoding.PEM) + private).decode("ascii"), made


def opened(settings: Mapping[str, Any], keys: KeyFile, name: str = "client_secret") -> bytes:
    """The credential in stored settings."""
    return keys.decrypt(settings[name], f"intune:corp:{name}")
