"""What a person is shown of any SCEP message; secrets hidden, nothing but Malformed for other bytes."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from scep_server.codec.capabilities import ca_certs
from scep_server.codec.explain import explain
from scep_server.errors import Malformed
from tests.e2e.crafted import pkcs_req
from tests.e2e.der import attribute, indefinite, sequence, utf8
from tests.e2e.identities import Device, certificate, certification_request, dns_san, issuer_and_serial, name, rsa_key

DEVICE = Device.named("device")
RA = certificate(rsa_key(1), name(("CN", "RA")), serial=77)
CSR = certification_request(rsa_key(), DEVICE.subject, challenge="opensesame", extensions=[dns_san("a.example")])


def request() -> bytes:
    return pkcs_req(DEVICE, RA, "opensesame")


def test_a_request_without_the_key():
    text = explain(request())
    for line in ("messageType: 19 (PKCS_REQ)", "transactionID: ", "senderNonce: ", "digest: sha256", "not opened"):
        assert line in text
    assert "signature: verified, by CN=device" in text
    assert "recipient: CN=RA, serial 4d" in text
    assert "opensesame" not in text


def test_a_request_with_the_key_hides_the_challenge_unless_asked():
    hidden = explain(request(), rsa_key(1))
    assert "challengePassword: (10 characters, hidden)" in hidden
    assert "opensesame" not in hidden
    assert "self-signature: verified" in hidden
    assert "challengePassword: opensesame" in explain(request(), rsa_key(1), reveal=True)


def test_the_wrong_key_opens_nothing():
    assert "not opened" in explain(request(), rsa_key(2))


def test_an_altered_message_is_told():
    message = request()
    assert "signature: WRONG" in explain(message[:-1] + bytes((message[-1] ^ 1,)))


def test_ber_pem_and_base64_are_read_too():
    expected = explain(CSR)
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(CSR) + b"-----END CERTIFICATE REQUEST-----\n"
    assert explain(pem) == explain(base64.b64encode(CSR)) == expected
    assert explain(indefinite(request())).splitlines()[0] == "SCEP message (SignedData)"


def test_an_envelope_under_a_password(tmp_path: Path, require_program):
    (tmp_path / "csr").write_bytes(CSR)
    command = [require_program("openssl", "openssl"), "cms", "-encrypt", "-binary", "-outform", "DER", "-aes128"]
    command += ["-in", str(tmp_path / "csr"), "-out", str(tmp_path / "env"), "-pwri_password", "pw"]
    subprocess.run(command, check=True, capture_output=True)
    sealed = (tmp_path / "env").read_bytes()
    assert "subject: CN=device,O=Example" in explain(sealed, password=b"pw")
    assert "not opened" in explain(sealed, password=b"other")


def test_certificates_and_chains():
    root = certificate(rsa_key(2), name(("CN", "Root")))
    text = explain(ca_certs([RA, root])[0])
    assert text.splitlines()[0] == "Certificates only (degenerate SignedData)"
    assert text.index("subject: CN=RA") < text.index("subject: CN=Root")
    assert "serial: 4d" in explain(RA)


def test_a_crl(tmp_path: Path):
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(x509.Name([])).last_update(now)
    crl = builder.next_update(now + timedelta(days=1)).sign(rsa_key(), hashes.SHA256())
    text = explain(crl.public_bytes(serialization.Encoding.DER))
    assert "CRL" in text
    assert "revoked: 0" in text


def test_query_contents():
    assert "serial: 4d" in explain(sequence(*issuer_and_serial(RA)))
    assert "subject: CN=device,O=Example" in explain(sequence(name(("CN", "RA")), DEVICE.subject))


def test_capabilities():
    assert explain(b"AES\r\nSHA-256\r\n") == "GetCACaps answer\n  AES\n  SHA-256"


def test_a_request_we_would_refuse_is_explained_with_the_reason():
    forged = certification_request(rsa_key(), DEVICE.subject, signer=rsa_key(1))
    assert "NOT ACCEPTED: self-signature" in explain(forged)
    assert "NOT ACCEPTED: two challengePassword" in explain(
        certification_request(
            rsa_key(),
            DEVICE.subject,
            challenge="a",
            more_attributes=[attribute("1.2.840.113549.1.9.7", utf8("b"))],
        )
    )


def test_control_characters_of_a_client_never_reach_the_terminal():
    evil = "a\x1b[2J\r\nforged: line"
    shown = explain(certification_request(rsa_key(), name(("CN", evil)), challenge=utf8(evil)), reveal=True)
    assert "\x1b" not in shown
    assert not any(line.startswith("forged") for line in shown.splitlines())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x30\x00",
        b"\x30\x80" * 2000,
        b"\x30\x82\x04\x00" * 1000,
        sequence(*[sequence()] * 2, b"\x03\x01\x00"),
        RA[:-1],
        b"-----BEGIN X-----\n?\n-----END X-----",
    ],
)
def test_other_bytes_are_malformed(data):
    with pytest.raises(Malformed):
        explain(data)
