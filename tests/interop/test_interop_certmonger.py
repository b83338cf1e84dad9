"""certmonger's scep-submit: capabilities, CA certificates, and PKIOperation by GET although POST is offered (T3)."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from asn1crypto import cms, pem
from cryptography import x509

from tests.conftest import find_program
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device, rsa_key
from tests.e2e.openssl_scep import OpenSsl
from tests.e2e.server import ScepServer
from tests.e2e.tap import Tap

UNREACHABLE = 3
"""What version 0.79.17 says to every reply without content, be it FAILURE or PENDING: OpenSSL's PKCS7_verify wants a
content, where RFC 8894 section 3.3.2 wants none (an empty OCTET STRING in its place would satisfy it). certmonger then
sends the same request again later, which does no harm and fetches an approved certificate.
"""


def submit(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = str(find_program("scep-submit", "certmonger"))
    return subprocess.run([program, *arguments], capture_output=True, timeout=30, check=False)


def send(place: Path, server: ScepServer, url: str, message: bytes) -> subprocess.CompletedProcess[bytes]:
    """`scep-submit -p` with everything it verifies by."""
    openssl = OpenSsl(place)
    ra, *authorities = server.ca_certificates()
    path = place / "message.pem"
    path.write_text(f"-----BEGIN PKCS7-----\n{base64.encodebytes(message).decode()}-----END PKCS7-----\n")
    trust = ["-r", openssl.pem("ra", ra), "-N", openssl.pem("ca", authorities[0])]
    return submit("-u", url, "-p", *trust, "-I", openssl.pem("others", *authorities), str(path))


def test_certmonger_reads_capabilities(server: ScepServer):
    done = submit("-u", server.url, "-c")
    assert done.returncode == 0
    assert {"AES", "POSTPKIOperation", "SHA-256", "SCEPStandard"} <= set(done.stdout.decode().split())


def test_certmonger_reads_ca_certificates(server: ScepServer):
    done = submit("-u", server.url, "-C")
    assert done.returncode == 0, done.stderr
    read = [body for _, _, body in pem.unarmor(done.stdout, multiple=True)]
    assert read[0] == server.ra
    assert set(read) == set(server.ca_certificates())


def test_certmonger_enrols_by_get(server: ScepServer, tmp_path: Path):
    device = Device.named("certmonger")
    with Tap(server.url) as tap:
        done = send(tmp_path, server, tap.url, pkcs_req(device, server.ra, server.secret))
        assert tap.operations()[-1] == "GET PKIOperation"
    assert done.returncode == 0, done.stderr
    envelope = pem.unarmor(done.stdout)[2]
    plain = OpenSsl(tmp_path).decrypt(envelope, device)
    leaf = cms.ContentInfo.load(plain)["content"]["certificates"][0].dump()
    assert x509.load_der_x509_certificate(leaf).public_key() == rsa_key().public_key()


def test_certmonger_takes_our_no_for_a_fault_and_nothing_is_issued(server: ScepServer, tmp_path: Path):
    before = len(server.certificates())
    device = Device.named("certmonger-refused")
    done = send(tmp_path, server, server.url, pkcs_req(device, server.ra, server.secret, message_type="18"))
    assert done.returncode == UNREACHABLE, done.stdout
    assert b"no content" in done.stdout
    assert len(server.certificates()) == before


def test_certmonger_gets_an_approved_certificate_by_asking_again(
    manual: tuple[str, str], server: ScepServer, tmp_path: Path
):
    url, secret = manual
    request = pkcs_req(Device.named("certmonger-pending"), server.ra, secret)
    waiting = send(tmp_path, server, url, request)
    assert waiting.returncode == UNREACHABLE, (waiting.stdout, waiting.stderr)
    pending = next(row for row in server.requests() if "certmonger-pending" in row["subject"])
    server.run("request", "approve", str(pending["id"]))
    assert send(tmp_path, server, url, request).returncode == 0
