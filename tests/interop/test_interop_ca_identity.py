"""`init --scep-identity ca`: the issuing CA reads requests itself, so clients see one certificate and no RA (R5)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e import wire
from tests.e2e.linted import lint_everything
from tests.e2e.server import PROGRAM, ScepServer
from tests.interop.test_interop_strongswan import Pki


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    data = tmp_path_factory.mktemp("identity") / "data"
    command = [str(PROGRAM), "init", "--data", str(data), "--key-type", "rsa2048", "--scep-identity", "ca"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with ScepServer(data, "rsa2048") as running:
        yield running
        lint_everything(running)


def test_ca_identity_is_one_certificate(alone: ScepServer):
    answer = wire.get(alone.url, "GetCACert")
    assert answer.headers["content-type"] == "application/x-x509-ca-cert"
    certificate = x509.load_der_x509_certificate(answer.body)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign, usage.crl_sign) == (True,) * 4
    assert wire.sha256_hex(answer.body) == alone.info["issuing_ca_sha256"]


def test_ca_identity_serves_strongswan(alone: ScepServer, tmp_path: Path):
    """It takes a single certificate only from a file: `--scepca` wants a root."""
    pki = Pki(tmp_path)
    (tmp_path / "ra.der").write_bytes(alone.ra)
    (tmp_path / "ca.der").write_bytes(pem_to_der(alone.data / "ca" / "root.pem"))
    pki.key("key.der", 0)
    issued = pki.enrol(alone.url, "O=Example, CN=strongswan-ca", alone.secret, "--cacert", "ra.der")
    issued.verify_directly_issued_by(x509.load_der_x509_certificate(alone.ra))


def test_ca_identity_serves_our_client(alone: ScepServer, tmp_path: Path):
    command = [
        str(PROGRAM),
        "client",
        "enroll",
        "--url",
        alone.url,
        "--subject",
        "CN=ours",
        "--out",
        str(tmp_path / "o"),
    ]
    command += ["--ca-fingerprint", alone.info["issuing_ca_sha256"]]
    environment = {**os.environ, "SCEP_CHALLENGE": alone.secret}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    issued = x509.load_pem_x509_certificate((tmp_path / "o" / "cert.pem").read_bytes())
    issued.verify_directly_issued_by(x509.load_der_x509_certificate(alone.ra))


def pem_to_der(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
