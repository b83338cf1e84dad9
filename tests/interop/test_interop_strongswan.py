"""strongSwan's `pki --scepca` and `pki --scep`, as Debian ships them (R18, R57, R69, R74)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.conftest import find_program
from tests.e2e.identities import rsa_key
from tests.e2e.server import ScepServer
from tests.e2e.tap import Tap, algorithms, message_type

FETCHER = Path("/usr/lib/ipsec/plugins/libstrongswan-curl.so")


class Pki:
    """The program, run in a directory that holds the CA's certificates and a key."""

    def __init__(self, place: Path) -> None:
        self.program = str(find_program("pki", "strongswan-pki"))
        if not FETCHER.exists():
            find_program("strongSwan's curl plugin", "libstrongswan-extra-plugins")
        self.place = place

    def command(self, *arguments: str) -> list[str]:
        return [self.program, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.command(*arguments), cwd=self.place, capture_output=True, timeout=60, check=False)

    def fetch_ca(self, url: str) -> None:
        """`pki --scepca` into ca.der, ca-1.der and ra.der."""
        done = self.run("--scepca", "--url", url, "--caout", "ca.der", "--raout", "ra.der", "--force")
        assert done.returncode == 0, done.stderr.decode()

    def key(self, name: str, number: int) -> str:
        der = rsa_key(number).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        (self.place / name).write_bytes(der)
        return name

    def scep(self, url: str, dn: str, password: str, *more: str, key: str = "key.der") -> list[str]:
        """Arguments of an enrolment."""
        authorities = [part for ca in sorted(self.place.glob("ca*.der")) for part in ("--cacert", ca.name)]
        return [
            *("--scep", "--url", url, "--in", key, "--dn", dn, "--password", password),
            *("--cacert-enc", "ra.der", "--cacert-sig", "ra.der", *authorities, *more),
        ]

    def enrol(self, url: str, dn: str, password: str, *more: str, key: str = "key.der") -> x509.Certificate:
        done = self.run(*self.scep(url, dn, password, *more, key=key))
        assert done.returncode == 0, done.stderr.decode()
        return x509.load_der_x509_certificate(done.stdout)


@pytest.fixture
def pki(tmp_path: Path, server: ScepServer) -> Pki:
    program = Pki(tmp_path)
    program.fetch_ca(server.url)
    program.key("key.der", 0)
    return program


def on_record(server: ScepServer, certificate: x509.Certificate) -> dict[str, object]:
    return next(row for row in server.certificates() if int(row["serial"], 16) == certificate.serial_number)


def test_strongswan_takes_all_ca_certificates(pki: Pki, server: ScepServer):
    written = {path.read_bytes() for path in pki.place.glob("*a*.der") if path.name != "key.der"}
    assert written == set(server.ca_certificates())
    assert (pki.place / "ra.der").read_bytes() == server.ra


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_strongswan_enrols(pki: Pki, server: ScepServer, digest: str):
    with Tap(server.url) as tap:
        issued = pki.enrol(tap.url, f"O=Example, CN=strongswan-{digest}", server.secret, "--digest", digest)
        assert algorithms(tap.messages()[0]) == (digest, "aes128_cbc")
    assert issued.public_key() == rsa_key(0).public_key()
    row = on_record(server, issued)
    assert (row["state"], row["subject"]) == ("issued", issued.subject.rfc4514_string())


def test_strongswan_chooses_well_from_our_capabilities(pki: Pki, server: ScepServer):
    """R18: without SHA-384 in the list, this version's capability test falls over and takes SHA-1 and 3DES by GET."""
    with Tap(server.url) as tap:
        pki.enrol(tap.url, "O=Example, CN=strongswan-default", server.secret)
        assert "POST PKIOperation" in tap.operations()
        assert algorithms(tap.messages()[0]) == ("sha256", "aes128_cbc")


def test_strongswan_asks_for_names(pki: Pki, server: ScepServer):
    issued = pki.enrol(server.url, "O=Example, CN=strongswan-san", server.secret, "--san", "phone.example.com")
    san = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["phone.example.com"]


def test_strongswan_is_told_no(pki: Pki, server: ScepServer):
    before = len(server.certificates())
    done = pki.run(*pki.scep(server.url, "O=Example, CN=strongswan-wrong", "not-the-secret"))
    assert done.returncode != 0
    assert len(server.certificates()) == before


def renew(pki: Pki, url: str, dn: str, secret: str) -> subprocess.CompletedProcess[bytes]:
    """Enrol, then renew with a new key."""
    issued = pki.enrol(url, dn, secret)
    (pki.place / "old.der").write_bytes(issued.public_bytes(serialization.Encoding.DER))
    new = pki.key("new.der", 1)
    return pki.run(*pki.scep(url, dn, secret, "--cert", "old.der", "--key", "key.der", key=new))


def test_strongswan_renews(pki: Pki, server: ScepServer, renewing: tuple[str, str]):
    url, secret = renewing
    with Tap(url) as tap:
        done = renew(pki, tap.url, "O=Example, CN=strongswan-renew", secret)
        assert [message_type(message) for message in tap.messages()] == ["19", "17"]
    assert done.returncode == 0, done.stderr.decode()
    renewed = x509.load_der_x509_certificate(done.stdout)
    assert renewed.public_key() == rsa_key(1).public_key()
    assert on_record(server, renewed)["state"] == "issued"


def poll_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_strongswan_polls_through_manual_approval(pki: Pki, server: ScepServer, manual: tuple[str, str], decision: str):
    url, secret = manual
    subject = f"strongswan-{decision}"
    arguments = pki.scep(url, f"O=Example, CN={subject}", secret, "--interval", "1", "--maxpolltime", "30")
    with subprocess.Popen(
        pki.command(*arguments), cwd=pki.place, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as polling:
        try:
            poll_until(lambda: [row for row in server.requests() if subject in row["subject"]])
            pending = next(row for row in server.requests() if subject in row["subject"])
            assert set(pending) >= {"id", "transaction_id", "subject", "requested_at", "source"}
            server.run("request", decision, str(pending["id"]))
            out, error = polling.communicate(timeout=30)
        finally:
            polling.kill()
    assert (polling.returncode == 0) == (decision == "approve"), error.decode()
    if decision == "approve":
        assert on_record(server, x509.load_der_x509_certificate(out))["state"] == "issued"
    else:
        assert subject not in json.dumps(server.certificates())
