"""Requests that are refused, each with its reason and an addressable reply."""

from __future__ import annotations

import dataclasses

import pytest
from asn1crypto import x509 as second_x509
from cryptography.hazmat.primitives.asymmetric import padding

from scep_server.codec.asn1 import OID, encode
from scep_server.errors import Reason
from scep_server.types import (
    Cipher,
    Digest,
    MessageType,
)
from tests.codec import scep_messages as make
from tests.codec.scep_messages import (
    ALLOWED,
    CONTENT_KEY,
    LEGACY,
    attribute,
    element,
    parse,
    printable,
    refused,
    scep_attributes,
)


def _other_digest() -> bytes:
    return attribute(make.MESSAGE_DIGEST, element(0x04, bytes(32)))


def _flipped() -> bytes:
    key, content = make.rsa_key("device"), make.envelope()
    return make.request(content, signature=make.sign(key, b"something else"))


def _two_certificates() -> bytes:
    twin = make.certificate(make.rsa_key("ra"))
    return make.request(bag=[make.device(), twin])


def _type(text: str) -> bytes:
    return make.request(attributes=scep_attributes(text))


def _ktri_twice() -> bytes:
    key = make.rsa_key("ra").public_key()
    infos = [
        element(
            0x30,
            b"\x02\x01\x00",
            make.sid_of(make.ra()),
            make.algorithm(make.RSA, make.NULL),
            element(0x04, key.encrypt(CONTENT_KEY, padding.PKCS1v15())),
        )
        for _ in range(2)
    ]
    return make.request(make.envelope(recipient=b"".join(infos)))


def _foreign() -> bytes:
    cert = make.certificate(make.rsa_key("device"), "somebody else", serial=9)
    recipient = element(
        0x30, b"\x02\x01\x00", make.sid_of(cert), make.algorithm(make.RSA, make.NULL), element(0x04, bytes(256))
    )
    return make.request(make.envelope(recipient=recipient))


PSS = "1.2.840.113549.1.1.10"
REFUSED = {
    "MD5": (lambda: make.request(digest="md5"), Reason.ALGORITHM),
    "SHA-1 switched off": (lambda: make.request(digest="sha1"), Reason.ALGORITHM),
    "3DES switched off": (lambda: make.request(make.envelope(cipher=Cipher.DES3_CBC)), Reason.ALGORITHM),
    "single DES": (
        lambda: make.request(_single_des()),
        Reason.ALGORITHM,
    ),
    "PSS": (lambda: make.request(signature_id=make.algorithm(PSS)), Reason.ALGORITHM),
    "odd signature parameters": (
        lambda: make.request(signature_id=make.algorithm(make.RSA, b"\x30\x00")),
        Reason.ALGORITHM,
    ),
    "EC identifier with an RSA key": (
        lambda: make.request(signature_id=make.algorithm("1.2.840.10045.4.3.2")),
        Reason.ALGORITHM,
    ),
    "messageDigest of another content": (lambda: make.request(message_digest=_other_digest()), Reason.SIGNATURE),
    "no messageDigest": (lambda: make.request(message_digest=b""), Reason.STRUCTURE),
    "two messageDigests": (
        lambda: make.request(attributes=scep_attributes(more=_other_digest())),
        Reason.STRUCTURE,
    ),
    "signature over something else": (_flipped, Reason.SIGNATURE),
    "another key's signature": (lambda: make.request(key=make.rsa_key("ra"), cert=make.device()), Reason.SIGNATURE),
    "digestAlgorithm differs from the signature's": (
        lambda: make.request(signature_id=make.algorithm("1.2.840.113549.1.1.13", make.NULL)),
        Reason.SIGNATURE,
    ),
    "no contentType": (lambda: make.request(attributes=scep_attributes(content_type=None)), Reason.STRUCTURE),
    "contentType attribute not id-data": (
        lambda: make.request(
            attributes=scep_attributes(content_type=attribute(make.CONTENT_TYPE, encode(OID(make.ID_SIGNED))))
        ),
        Reason.STRUCTURE,
    ),
    "eContentType not id-data": (lambda: make.request(content_type="1.2.840.113549.1.7.3"), Reason.STRUCTURE),
    "signer not in the bag": (lambda: make.request(bag=[make.ra()]), Reason.STRUCTURE),
    "no bag": (lambda: make.request(bag=[]), Reason.STRUCTURE),
    "two certificates of one name and serial": (_two_certificates, Reason.STRUCTURE),
    "eleven certificates": (lambda: make.request(bag=[make.device()] * 11), Reason.STRUCTURE),
    "two messageTypes": (
        lambda: make.request(attributes=scep_attributes(more=attribute(make.MESSAGE_TYPE, printable("17")))),
        Reason.STRUCTURE,
    ),
    "no messageType": (lambda: make.request(attributes=scep_attributes(type=None)), Reason.MESSAGE_TYPE),
    "CSR in clear (R46)": (lambda: make.request(make.device_csr()), Reason.STRUCTURE),
    "content no CMS": (lambda: make.request(b"hello"), Reason.STRUCTURE),
    "two recipients are ours (N8)": (_ktri_twice, Reason.STRUCTURE),
    "eleven recipients": (
        lambda: make.request(make.envelope(recipient=element(0xA4, b"\x02\x01\x00") * 11)),
        Reason.STRUCTURE,
    ),
    "only a KEKRecipientInfo": (
        lambda: make.request(make.envelope(recipient=element(0xA2, b"\x02\x01\x00"))),
        Reason.UNREADABLE,
    ),
    "somebody else's recipient": (_foreign, Reason.UNREADABLE),
}


def _single_des() -> bytes:
    """As `scepclient` sends it: OID 1.3.14.3.2.7 with an IV of 8 bytes."""
    recipient = element(
        0x30,
        b"\x02\x01\x00",
        make.sid_of(make.ra()),
        make.algorithm(make.RSA, make.NULL),
        element(0x04, bytes(256)),
    )
    encrypted = element(
        0x30,
        encode(OID(make.ID_DATA)),
        make.algorithm("1.3.14.3.2.7", element(0x04, bytes(8))),
        element(0x80, bytes(64)),
    )
    enveloped = element(0x30, b"\x02\x01\x00", element(0x31, recipient), encrypted)
    return element(0x30, encode(OID("1.2.840.113549.1.7.3")), element(0xA0, enveloped))


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_reason(case: str) -> None:
    build, reason = REFUSED[case]
    assert refused(build()).reason is reason


@pytest.mark.parametrize(
    "text", ["0", "1", "2", "3", "4", "16", "18", "23", "19 ", " 19", "019", "+19", "nineteen", "1\uff19"]
)
def test_message_types_outside_the_list(text: str) -> None:
    assert refused(_type(text)).reason is Reason.MESSAGE_TYPE


@pytest.mark.parametrize("kind", [k for k in MessageType if k is not MessageType.CERT_REP])
def test_message_type_is_refused_where_it_is_not_allowed(kind: MessageType) -> None:
    data = make.request(attributes=scep_attributes(str(kind.value)))
    assert parse(data).message_type is kind
    without = dataclasses.replace(ALLOWED, message_types=ALLOWED.message_types - {kind})
    assert refused(data, without).reason is Reason.MESSAGE_TYPE


def test_reply_digest_is_never_one_that_is_not_permitted() -> None:
    assert refused(make.request(digest="sha1")).reply_to.digest is Digest.SHA256
    assert refused(make.request(digest="md5"), LEGACY).reply_to.digest is Digest.SHA256
    assert parse(make.request(digest="sha1"), LEGACY).reply_to.digest is Digest.SHA1
    assert parse(make.request(digest="sha512")).reply_to.digest is Digest.SHA512


def test_a_bad_signature_is_told_before_a_bad_type() -> None:
    key = make.rsa_key("device")
    data = make.request(attributes=scep_attributes("18"), signature=make.sign(key, b"else"))
    assert refused(data).reason is Reason.SIGNATURE


@pytest.mark.parametrize(("size", "exponent"), [(1024, 65537), (2048, 3)])
def test_weak_rsa_signers(size: int, exponent: int) -> None:
    key = make.rsa_key(f"weak-{size}-{exponent}", size, exponent)
    assert refused(make.request(key=key, cert=make.certificate(key))).reason is Reason.KEY


def test_huge_rsa_is_refused_before_any_maths() -> None:
    cert = make.certificate(make.rsa_key("device"))
    modulus = make.rsa_key("device").public_key().public_numbers().n
    spki = second_x509.Certificate.load(cert)["tbs_certificate"]["subject_public_key_info"].dump()
    huge = element(
        0x30,
        make.algorithm(make.RSA, make.NULL),
        element(0x03, b"\0", element(0x30, encode(modulus << 14336 | 1), encode(65537))),
    )
    tbs = second_x509.Certificate.load(cert)["tbs_certificate"].dump()
    body = tbs[4:].replace(spki, huge)
    odd = element(0x30, element(0x30, body), make.algorithm(make.SHA256_WITH_RSA, make.NULL), element(0x03, bytes(257)))
    assert refused(make.request(cert=odd)).reason is Reason.KEY


def test_other_curves_and_zero_signatures() -> None:
    key = make.ec_key("secp256k1")
    assert refused(make.request(key=key, cert=make.certificate(key))).reason is Reason.KEY
    zero = element(0x30, b"\x02\x01\x00", b"\x02\x01\x00")
    key = make.ec_key()
    assert refused(make.request(key=key, cert=make.certificate(key), signature=zero)).reason is Reason.SIGNATURE


def test_queries_for_another_recipient_are_no_such_certificate() -> None:
    cert = make.certificate(make.rsa_key("device"), "somebody else", serial=9)
    recipient = element(
        0x30, b"\x02\x01\x00", make.sid_of(cert), make.algorithm(make.RSA, make.NULL), element(0x04, bytes(256))
    )
    data = make.request(make.envelope(recipient=recipient), scep_attributes("21"))
    assert refused(data).reason is Reason.NO_SUCH_CERTIFICATE
