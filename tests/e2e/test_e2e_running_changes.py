"""What commands change reaches a running server within two seconds, without a restart (the CLI's contract)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from cryptography import x509

from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.outcomes import BAD_REQUEST, SUCCESS, send
from tests.e2e.polling import until
from tests.e2e.server import ScepServer

PROMISED_SECONDS = 2.0
TOO_MANY_GUESSES = "HTTP 429"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    """A server of its own: these tests guess secrets, and guessing is limited for everybody at one address."""
    with ScepServer(tmp_path_factory.mktemp("changes") / "data", "p256") as running:
        yield running


def soon(condition: Callable[[], object]) -> None:
    """True within the promised time."""
    until(condition, PROMISED_SECONDS)


def offered(url: str) -> set[str]:
    return set(wire.get(url, "GetCACaps").body.decode().split())


def test_changes_of_options(server: ScepServer):
    url, _ = server.add_integration("options")
    assert "Renewal" not in offered(url)
    server.run("integration", "set", "options", "--option", "renewal=on")
    soon(lambda: "Renewal" in offered(url))
    server.run("integration", "set", "options", "--option", "renewal=off")
    soon(lambda: "Renewal" not in offered(url))


def test_changes_of_the_secret(server: ScepServer):
    """The one before stays valid; the one before that does not."""
    url, first = server.add_integration("secret")
    device = Device.named("rotates")
    ra = server.ca_certificates(url)[0]

    def outcome(secret: str) -> str:
        return send(url, pkcs_req(device, ra, secret)).short

    second = json.loads(server.run("integration", "rotate-secret", "secret", "--json").stdout)["challenge"]
    soon(lambda: outcome(second) == SUCCESS)
    assert outcome(first) == SUCCESS
    third = json.loads(server.run("integration", "rotate-secret", "secret", "--json").stdout)["challenge"]
    soon(lambda: outcome(third) == SUCCESS)
    assert outcome(second) == SUCCESS
    assert outcome(first) in {BAD_REQUEST, TOO_MANY_GUESSES}


def test_changes_by_switching_off_and_deleting(server: ScepServer):
    url, secret = server.add_integration("short-lived")
    device, ra = Device.named("too-late"), server.ca_certificates(url)[0]
    server.run("integration", "set", "short-lived", "--disable")
    soon(lambda: send(url, pkcs_req(device, ra, secret)).short != SUCCESS)
    server.run("integration", "delete", "short-lived", "--yes")
    soon(lambda: wire.get(url, "GetCACaps").status == 404)


def test_changes_of_a_certificates_state(server: ScepServer):
    """Revoked, it is on the list at the address that it carries."""
    device = Device.named("revoked-soon")
    request = pkcs_req(device, server.ra, server.secret)
    certificate = send(server.url, request).certrep.certificate(device)
    (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    address = point.full_name[0].value

    def listed() -> object:
        crl = x509.load_der_x509_crl(wire.request("GET", address).body)
        return crl.get_revoked_certificate_by_serial_number(certificate.serial_number)

    assert listed() is None
    server.run("cert", "revoke", f"{certificate.serial_number:x}", "--reason", "keyCompromise")
    soon(listed)
