"""What a SCEP server must do, in one run on the wire (RFC 8894 section 2.9; R1 to R4, R17, R36, R40, R63)."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.e2e import wire
from tests.e2e.crafted import attributes_of, message, pkcs_req, seal
from tests.e2e.identities import Device, certification_request, dns_san, rsa_key
from tests.e2e.outcomes import BAD_ALG, SUCCESS, send
from tests.e2e.replies import enveloped
from tests.e2e.server import ScepServer


def test_mandatory_functions_work_together(server: ScepServer):
    caps = wire.get(server.url, "GetCACaps").body.decode().split()
    assert {"AES", "POSTPKIOperation", "SHA-256", "SCEPStandard"} <= set(caps)
    device = Device.named("mandatory")
    tid, nonce = "mandatory-1", bytes(range(16))
    body = pkcs_req(device, server.ra, server.secret, transaction_id=tid, nonce=nonce)
    outcome = send(server.url, body)
    assert outcome.short == SUCCESS
    reply = outcome.certrep
    assert (reply.transaction_id, reply.recipient_nonce) == (tid, nonce)
    assert reply.sender_nonce != nonce
    assert reply.signer == server.ra
    assert len(reply.certificates(device)) == 1
    issued = reply.certificate(device)
    row = next(row for row in server.certificates() if int(row["serial"], 16) == issued.serial_number)
    assert (row["state"], row["transaction_id"], row["subject"]) == ("issued", tid, "CN=mandatory,O=Example")
    assert row["serial"] == f"{issued.serial_number:x}"


def test_mandatory_profile(server: ScepServer):
    device = Device.named("profile")
    csr = certification_request(device.key, device.subject, challenge=server.secret, extensions=[dns_san("a.example")])
    issued = send(server.url, pkcs_req(device, server.ra, None, csr=csr)).certrep.certificate(device)
    usage = issued.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_encipherment
    assert not usage.value.key_cert_sign
    assert list(issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == ["a.example"]
    assert issued.serial_number.bit_length() >= 120
    assert 364 <= (issued.not_valid_after_utc - issued.not_valid_before_utc).days <= 366
    issued.verify_directly_issued_by(x509.load_der_x509_certificate(server.ca_certificates()[1]))


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("cipher", ["aes128", "aes192", "aes256"])
def test_mandatory_reply_mirrors_the_request(server: ScepServer, digest: str, cipher: str):
    device = Device.named(f"mirror-{digest}-{cipher}")
    reply = send(server.url, pkcs_req(device, server.ra, server.secret, digest=digest, cipher=cipher)).certrep
    assert (reply.status, reply.digest) == (SUCCESS, digest)
    content = enveloped(reply)["encrypted_content_info"]["content_encryption_algorithm"]
    assert content["algorithm"].native == f"{cipher}_cbc"


@pytest.mark.parametrize(
    ("cipher", "digest"), [("des3", "sha256"), ("aes128", "sha1"), ("des", "sha256"), ("aes128", "md5")]
)
def test_mandatory_weak_algorithms_are_refused(server: ScepServer, cipher: str, digest: str):
    device = Device.named(f"weak-{cipher}-{digest}")
    outcome = send(server.url, pkcs_req(device, server.ra, server.secret, cipher=cipher, digest=digest))
    assert outcome.short == BAD_ALG
    assert outcome.certrep.digest == "sha256"
    assert not [row for row in server.certificates() if f"weak-{cipher}-{digest}" in row["subject"]]


@pytest.fixture(scope="module")
def legacy(server: ScepServer) -> tuple[str, str]:
    return server.add_integration("legacy", allow_sha1="on", allow_des3="on")


@pytest.mark.parametrize(("cipher", "digest"), [("des3", "sha256"), ("aes128", "sha1"), ("des3", "sha1")])
def test_mandatory_legacy_algorithms_where_allowed(
    server: ScepServer, legacy: tuple[str, str], cipher: str, digest: str
):
    url, secret = legacy
    device = Device.named(f"legacy-{cipher}-{digest}")
    outcome = send(url, pkcs_req(device, server.ra, secret, cipher=cipher, digest=digest))
    assert outcome.short == SUCCESS
    assert outcome.certrep.certificate(device).signature_hash_algorithm is not None
    assert outcome.certrep.digest == digest


@pytest.mark.parametrize(("cipher", "digest"), [("des", "sha256"), ("aes128", "md5")])
def test_mandatory_des_and_md5_never(server: ScepServer, legacy: tuple[str, str], cipher: str, digest: str):
    url, secret = legacy
    device = Device.named("never")
    assert send(url, pkcs_req(device, server.ra, secret, cipher=cipher, digest=digest)).short == BAD_ALG


@pytest.mark.parametrize(("digest", "allowed"), [("md5", False), ("sha1", False), ("sha1", True)])
def test_mandatory_csr_signature_hash(server: ScepServer, legacy: tuple[str, str], digest: str, allowed: bool):
    url, secret = legacy if allowed else (server.url, server.secret)
    device = Device.named(f"csr-{digest}-{allowed}")
    csr = certification_request(device.key, device.subject, challenge=secret, digest=digest)
    outcome = send(url, pkcs_req(device, server.ra, None, csr=csr))
    assert outcome.short == (SUCCESS if allowed else BAD_ALG)


def test_mandatory_capabilities_are_true(server: ScepServer, legacy: tuple[str, str], renewing: tuple[str, str]):
    """R17: each keyword is sent exactly where its function works; the tests beside this one try the functions."""
    plain = {"AES", "POSTPKIOperation", "SHA-256", "SHA-384", "SHA-512", "SCEPStandard"}
    for url, more in ((server.url, set()), (legacy[0], {"SHA-1", "DES3"}), (renewing[0], {"Renewal"})):
        answer = wire.get(url, "GetCACaps")
        assert answer.headers["content-type"].split(";")[0] == "text/plain"
        lines = answer.body.decode().splitlines()
        assert set(lines) == plain | more
        assert len(lines) == len(plain | more)


def test_mandatory_chain_in_the_reply_where_wanted(server: ScepServer):
    url, secret = server.add_integration("chained", reply_chain="on")
    device = Device.named("chained")
    certificates = send(url, pkcs_req(device, server.ra, secret)).certrep.certificates(device)
    assert certificates[1:] == server.ca_certificates()[1:]
    assert x509.load_der_x509_certificate(certificates[0]).public_key() == rsa_key().public_key()


@pytest.mark.parametrize("nonce", [b"n", b"n" * 8, b"n" * 16, b"n" * 64])
def test_mandatory_nonce_of_any_length_comes_back(server: ScepServer, nonce: bytes):
    device = Device.named("nonce")
    csr = certification_request(device.key, device.subject, challenge=server.secret)
    body = message(device, seal(csr, server.ra), attributes_of(nonce=nonce))
    assert send(server.url, body).certrep.recipient_nonce == nonce
