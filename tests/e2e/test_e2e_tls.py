"""HTTPS by the program itself: served, verified by our client, and a renewed certificate taken while it runs."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from tests.e2e.identities import ec_key
from tests.e2e.server import PROGRAM, ScepServer


def write_pair(folder: Path, number: int) -> None:
    """A certificate for 127.0.0.1, its own issuer, and its key; put in place as renewal programs do."""
    key, now = ec_key(number), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"front {number}")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, content in {"tls.key": private, "tls.pem": certificate.public_bytes(serialization.Encoding.PEM)}.items():
        new = folder / f"{file}.new"
        new.write_bytes(content)
        new.chmod(0o600)
        new.replace(folder / file)


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    folder = tmp_path_factory.mktemp("https")
    write_pair(folder, 70)
    files = {
        "SCEP_SERVER_SERVER__TLS_CERTIFICATE": str(folder / "tls.pem"),
        "SCEP_SERVER_SERVER__TLS_KEY": str(folder / "tls.key"),
    }
    with ScepServer(folder / "data", "p256", environment=files) as running:
        yield running


def client(*arguments: str, challenge: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SCEP_CHALLENGE": challenge}
    command = [str(PROGRAM), "client", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def shown(server: ScepServer) -> str:
    """The certificate that a new connection is shown, PEM."""
    return ssl.get_server_certificate(("127.0.0.1", server.port), timeout=10)


def test_tls_enrols_and_is_verified_by_the_given_ca(https: ScepServer, tmp_path: Path):
    assert https.url.startswith("https://127.0.0.1:")
    wanted = ("enroll", "--url", https.url, "--subject", "CN=over-tls", "--key-type", "p256")
    trusted = str(https.data.parent / "tls.pem")
    done = client(*wanted, "--out", str(tmp_path / "out"), "--tls-ca", trusted, challenge=https.secret)
    assert done.returncode == 0, done.stderr
    issued = x509.load_pem_x509_certificate((tmp_path / "out" / "cert.pem").read_bytes())
    assert issued.subject.rfc4514_string() == "CN=over-tls"


def test_tls_of_a_stranger_is_not_talked_to(https: ScepServer, tmp_path: Path):
    done = client("caps", "--url", https.url)
    assert (done.returncode, done.stdout) != (0, "")
    assert "--tls-ca" in done.stderr
    write_pair(tmp_path, 72)
    assert client("caps", "--url", https.url, "--tls-ca", str(tmp_path / "tls.pem")).returncode != 0


def test_tls_takes_a_renewed_certificate_while_it_serves(https: ScepServer):
    folder = https.data.parent
    assert shown(https).strip() == (folder / "tls.pem").read_text().strip()
    write_pair(folder, 71)
    deadline = time.monotonic() + 20
    while shown(https).strip() != (folder / "tls.pem").read_text().strip():
        assert time.monotonic() < deadline, "the old certificate is still shown"
        time.sleep(0.1)
