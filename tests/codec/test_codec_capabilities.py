"""GetCACaps line by line, GetCACert byte by byte, and what devices make of them (R14 to R22, mdm clients)."""

from __future__ import annotations

import subprocess

import pytest

from scep_server.codec.capabilities import ca_caps, ca_certs
from scep_server.types import Allowed, Cipher, Digest, MessageType
from tests.codec.acceptance import apple_refusal, certificates_in, windows_refusal
from tests.e2e.der import bits, boolean, integer, oid, sequence, tlv
from tests.e2e.identities import certificate, ec_key, extension, name, rsa_key

AES = frozenset({Cipher.AES128_CBC, Cipher.AES192_CBC, Cipher.AES256_CBC})
SHA2 = frozenset({Digest.SHA256, Digest.SHA384, Digest.SHA512})
TYPES = frozenset(MessageType) - {MessageType.CERT_REP, MessageType.RENEWAL_REQ}
ORDINARY = ["AES", "POSTPKIOperation", "SCEPStandard", "SHA-256", "SHA-384", "SHA-512"]


@pytest.mark.parametrize(
    ("allowed", "keywords"),
    [
        (Allowed(TYPES, SHA2, AES), ORDINARY),
        (Allowed(TYPES | {MessageType.RENEWAL_REQ}, SHA2, AES), [*ORDINARY, "Renewal"]),
        (Allowed(TYPES, SHA2 | {Digest.SHA1}, AES), [*ORDINARY, "SHA-1"]),
        (Allowed(TYPES, SHA2, AES | {Cipher.DES3_CBC}), [*ORDINARY, "DES3"]),
        (Allowed(TYPES, frozenset({Digest.SHA256}), AES), ORDINARY[:4]),
        (Allowed(TYPES, frozenset({Digest.SHA512}), AES), ["AES", "POSTPKIOperation", "SHA-512"]),
        (Allowed(TYPES, SHA2, frozenset({Cipher.DES3_CBC})), ["POSTPKIOperation", *ORDINARY[3:], "DES3"]),
    ],
)
def test_keywords_are_exactly_what_is_allowed(allowed, keywords):
    assert ca_caps(allowed).decode("ascii").split("\n") == keywords


def test_no_blank_line_and_no_stray_character():
    body = ca_caps(Allowed(frozenset(MessageType), frozenset(Digest), frozenset(Cipher)))
    assert all(line and line == line.strip() for line in body.split(b"\n"))
    assert b"\r" not in body


def key_usage(octet: int, unused: int) -> bytes:
    return extension("2.5.29.15", tlv(0x03, bytes((unused, octet))), critical=True)


CA_EXTENSIONS = (extension("2.5.29.19", sequence(boolean(True)), critical=True), key_usage(0x06, 1))
RA_USAGE = key_usage(0xA0, 5)
SERVER_AUTH = extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.1")))
ROOT_NAME, ISSUING_NAME, RA_NAME = (name(("CN", text)) for text in ("Root", "Issuing", "RA"))


def hierarchy(ra_extensions: tuple[bytes, ...] = (RA_USAGE, SERVER_AUTH), ra_key: object = None) -> list[bytes]:
    """RA, intermediate, root."""
    root = certificate(rsa_key(1), ROOT_NAME, extensions=CA_EXTENSIONS)
    issuing = certificate(
        rsa_key(2), ISSUING_NAME, issuer=ROOT_NAME, signer=rsa_key(1), serial=2, extensions=CA_EXTENSIONS
    )
    ra = certificate(
        ra_key or rsa_key(3), RA_NAME, issuer=ISSUING_NAME, signer=rsa_key(2), serial=3, extensions=ra_extensions
    )
    return [ra, issuing, root]


def test_one_certificate_goes_bare():
    only = hierarchy()[0]
    assert ca_certs([only]) == (only, "application/x-x509-ca-cert")


def test_a_chain_goes_degenerate_in_its_order():
    chain = hierarchy()
    body, content_type = ca_certs(chain)
    assert content_type == "application/x-x509-ca-ra-cert"
    signed_data = sequence(integer(1), tlv(0x31), sequence(oid("1.2.840.113549.1.7.1")), tlv(0xA0, *chain), tlv(0x31))
    assert body == sequence(oid("1.2.840.113549.1.7.2"), tlv(0xA0, signed_data))


def test_openssl_reads_the_chain(require_program):
    body, _ = ca_certs(hierarchy())
    openssl = require_program("openssl", "openssl")
    command = [openssl, "pkcs7", "-inform", "DER", "-print_certs", "-noout"]
    printed = subprocess.run(command, input=body, capture_output=True, check=True).stdout.decode()
    subjects = [line.split("=")[-1].strip() for line in printed.splitlines() if line.startswith("subject")]
    assert subjects == ["RA", "Issuing", "Root"]


def test_nothing_to_send_is_a_fault_of_ours():
    with pytest.raises(ValueError):
        ca_certs([])


def test_apple_and_windows_accept_the_chain_and_the_single_certificate():
    chain = ca_certs(hierarchy())
    assert apple_refusal(*chain) is None
    assert windows_refusal(*chain) is None
    single = ca_certs([certificate(rsa_key(1), ROOT_NAME, extensions=(CA_EXTENSIONS[0], key_usage(0xA6, 1)))])
    assert apple_refusal(*single) is None
    assert windows_refusal(*single) is None


def test_windows_finds_the_profile_thumbprint_of_every_certificate_sent():
    body, content_type = ca_certs(hierarchy())
    from cryptography.hazmat.primitives.hashes import SHA1

    for found in certificates_in(body, content_type):
        assert windows_refusal(body, content_type, found.fingerprint(SHA1())) is None
    assert windows_refusal(body, content_type, bytes(20)) is not None


def test_the_rules_themselves_refuse_what_devices_refuse():
    ra, issuing, root = hierarchy()
    assert apple_refusal(ca_certs([ra, issuing])[0], "application/x-x509-ca-ra-cert; charset=utf-8") is not None
    assert "no candidate" in (apple_refusal(*ca_certs([issuing, root])) or "")
    assert "chain" in (apple_refusal(*ca_certs([ra, root])) or "")
    signing_only = hierarchy((key_usage(0x80, 7), SERVER_AUTH))
    assert "no candidate" in (apple_refusal(*ca_certs(signing_only)) or "")
    assert "not RSA" in (apple_refusal(*ca_certs(hierarchy(ra_key=ec_key()))) or "")
    other_root = certificate(rsa_key(4), name(("CN", "Other")), extensions=CA_EXTENSIONS)
    other_ra = certificate(rsa_key(5), RA_NAME, issuer=name(("CN", "Other")), signer=rsa_key(4), extensions=(RA_USAGE,))
    assert "different" in (apple_refusal(*ca_certs([ra, issuing, root, other_ra, other_root])) or "")
    assert "serverAuth" in (windows_refusal(*ca_certs(hierarchy((RA_USAGE,)))) or "")
    assert windows_refusal(*ca_certs(signing_only)) is not None
    with_content = ca_certs([ra, root])[0].replace(
        bytes.fromhex("300b06092a864886f70d010701"), b"\x30\x0b" + bits(bytes(8))
    )
    assert apple_refusal(with_content, "application/x-x509-ca-ra-cert") is not None
