"""OpenSSL against us: envelopes it made, replies it decrypts, chains and CRLs it verifies."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from asn1crypto import cms
from cryptography import x509

from tests.e2e import wire
from tests.e2e.crafted import attributes_of, message, pkcs_req
from tests.e2e.der import indefinite
from tests.e2e.identities import Device, certification_request, ec_key, rsa_key
from tests.e2e.openssl_scep import OpenSsl
from tests.e2e.replies import Reply, enveloped, read_reply
from tests.e2e.server import ScepServer

OAEP = ("-keyopt", "rsa_padding_mode:oaep")
OAEP_SHA256 = (*OAEP, "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha256")


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    return OpenSsl(tmp_path)


def enrol(server: ScepServer, device: Device, envelope: bytes, *, ber: bool = False) -> Reply:
    body = message(device, envelope, attributes_of())
    return read_reply(wire.post(server.url, indefinite(body) if ber else body).body)


def leaf_of(plain: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(cms.ContentInfo.load(plain)["content"]["certificates"][0].dump())


@pytest.mark.parametrize(
    ("options", "cipher", "transport"),
    [
        ((), "aes-128-cbc", "rsaes_pkcs1v15"),
        ((), "aes-192-cbc", "rsaes_pkcs1v15"),
        ((), "aes-256-cbc", "rsaes_pkcs1v15"),
        (("-stream",), "aes-128-cbc", "rsaes_pkcs1v15"),
        (("-keyid",), "aes-128-cbc", "rsaes_pkcs1v15"),
        (OAEP, "aes-128-cbc", "rsaes_oaep"),
        (OAEP_SHA256, "aes-256-cbc", "rsaes_oaep"),
        (("-stream", "-keyid", *OAEP_SHA256), "aes-128-cbc", "rsaes_oaep"),
    ],
    ids=["aes128", "aes192", "aes256", "stream", "ski", "oaep-sha1", "oaep-sha256", "all-at-once"],
)
def test_openssl_envelope_is_read_and_mirrored(
    server: ScepServer, openssl: OpenSsl, options: tuple[str, ...], cipher: str, transport: str
):
    device = Device.named("openssl")
    csr = certification_request(device.key, device.subject, challenge=server.secret)
    reply = enrol(server, device, openssl.envelope(csr, server.ra, *options, cipher=cipher), ber="-stream" in options)
    assert (reply.status, reply.text) == ("SUCCESS", None)
    answer = enveloped(reply)
    assert answer["encrypted_content_info"]["content_encryption_algorithm"]["algorithm"].native == cipher.replace(
        "-", ""
    ).replace("cbc", "_cbc")
    assert answer["recipient_infos"][0].chosen["key_encryption_algorithm"]["algorithm"].native == transport
    assert reply.envelope is not None
    assert leaf_of(openssl.decrypt(reply.envelope, device)).public_key() == rsa_key().public_key()


def test_openssl_3des_is_refused(server: ScepServer, openssl: OpenSsl):
    before = len(server.certificates())
    device = Device.named("openssl-3des")
    csr = certification_request(device.key, device.subject, challenge=server.secret)
    reply = enrol(server, device, openssl.envelope(csr, server.ra, cipher="des3"))
    assert (reply.status, reply.fail_info) == ("FAILURE", 0)
    assert len(server.certificates()) == before


def test_openssl_password_recipient_serves_ec_devices(server: ScepServer, openssl: OpenSsl):
    device = Device.named("openssl-ec", ec_key())
    csr = certification_request(device.key, device.subject, challenge=server.secret)
    reply = enrol(server, device, openssl.envelope(csr, None, "-pwri_password", server.secret))
    assert (reply.status, reply.text) == ("SUCCESS", None)
    assert reply.envelope is not None
    issued = leaf_of(openssl.decrypt_with_password(reply.envelope, server.secret))
    assert issued.public_key() == ec_key().public_key()


def test_openssl_password_recipient_with_another_password(server: ScepServer, openssl: OpenSsl):
    before = len(server.certificates())
    device = Device.named("openssl-ec-wrong", ec_key(1))
    csr = certification_request(device.key, device.subject, challenge=server.secret)
    reply = enrol(server, device, openssl.envelope(csr, None, "-pwri_password", "some-other-password"))
    assert (reply.status, reply.fail_info) == ("FAILURE", 2)
    assert len(server.certificates()) == before


def test_openssl_verifies_replies_chain_and_crl(server: ScepServer, openssl: OpenSsl):
    device = Device.named("openssl-verify")
    _, issuing, root = server.ca_certificates()
    body = wire.post(server.url, pkcs_req(device, server.ra, server.secret)).body
    reply = read_reply(body)
    assert openssl.verify_reply(body, [issuing, root]) == reply.envelope
    leaf = reply.certificates(device)[0]
    issued = x509.load_der_x509_certificate(leaf)
    assert fetch_issuer(issued) == issuing
    assert openssl.verify(leaf, [issuing], root, fetch_crl(issued)).returncode == 0

    server.run("cert", "revoke", f"{issued.serial_number:x}", "--reason", "keyCompromise")
    deadline = time.monotonic() + 5
    while (judged := openssl.verify(leaf, [issuing], root, fetch_crl(issued))).returncode == 0:
        assert time.monotonic() < deadline, "revocation did not reach the served CRL"
        time.sleep(0.1)
    assert b"certificate revoked" in judged.stderr
    text = openssl.run(
        "crl", "-inform", "DER", "-noout", "-text", "-CAfile", openssl.pem("i", issuing), data=fetch_crl(issued)
    )
    assert b"verify OK" in text.stderr
    assert b"Key Compromise" in text.stdout


def test_openssl_sees_a_foreign_chain(server: ScepServer, openssl: OpenSsl):
    device = Device.named("openssl-foreign")
    _, issuing, root = server.ca_certificates()
    assert openssl.verify(device.certificate, [issuing], root).returncode != 0


def fetch_crl(certificate: x509.Certificate) -> bytes:
    """The CRL at the address that the certificate names."""
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    answer = wire.request("GET", points[0].full_name[0].value)  # type: ignore[index]
    assert (answer.status, answer.headers["content-type"]) == (200, "application/pkix-crl")
    return answer.body


def fetch_issuer(certificate: x509.Certificate) -> bytes:
    """The issuing certificate at the address that the certificate names."""
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    place = next(entry for entry in access if entry.access_method == x509.AuthorityInformationAccessOID.CA_ISSUERS)
    answer = wire.request("GET", place.access_location.value)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/pkix-cert")
    return answer.body
