"""Requests that must pass, in every form that devices send; and bytes that no CertRep can answer."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable

import pytest
from asn1crypto import x509 as second_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given, settings
from hypothesis import strategies as st

from scep_server.codec.algorithms import TRANSPORT_PADDINGS
from scep_server.codec.asn1 import OID, encode
from scep_server.codec.certificate import recipient_ids
from scep_server.codec.messages import (
    build_success,
    finish_reply,
    open_request,
)
from scep_server.codec.replies import open_reply, parse_reply
from scep_server.codec.requests import build_request, finish_request
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import (
    Cipher,
    Digest,
    KeyTransport,
    MessageType,
    ReplyEncryption,
)
from tests.codec import scep_messages as make
from tests.codec.scep_messages import (
    CONTENT_KEY,
    LEGACY,
    attribute,
    element,
    parse,
    printable,
    refused,
    scep_attributes,
    unwrap,
)


def test_request_gives_what_was_signed() -> None:
    sealed = parse(make.request())
    assert sealed.signer.can_encrypt
    assert sealed.message_type is MessageType.PKCS_REQ
    assert sealed.reply_to.digest is Digest.SHA256
    assert sealed.signer.der == make.device()
    assert sealed.signer.self_issued
    assert sealed.signing_time is None
    opened = open_request(sealed, unwrap(sealed))
    assert opened.der == make.device_csr()
    assert opened.challenge == "secret"


@pytest.mark.parametrize("cipher", list(Cipher))
@pytest.mark.parametrize("transport", list(KeyTransport))
@pytest.mark.parametrize("digest", list(Digest))
def test_every_algorithm_both_ways(cipher: Cipher, transport: KeyTransport, digest: Digest) -> None:
    device = make.rsa_key("device")
    request = build_request(
        MessageType.PKCS_REQ, "t", b"n", make.device_csr(), make.ra(), digest=digest, cipher=cipher, transport=transport
    )
    message = finish_request(request, make.device(), make.sign(device, request.to_sign, digest.value))
    sealed = parse(message, LEGACY)
    assert (sealed.envelope.cipher, sealed.envelope.recipient.transport) == (cipher, transport)
    assert sealed.reply_to.digest is digest
    assert open_request(sealed, unwrap(sealed)).der == make.device_csr()

    encryption = ReplyEncryption(cipher, transport, sealed.signer)
    reply = build_success(sealed.reply_to, [make.device(), make.ra()], encryption)
    assert reply.digest is digest
    data = finish_reply(reply, make.ra(), make.sign(make.rsa_key("ra"), reply.to_sign, digest.value))
    read = parse_reply(data, recipient_ids(make.device()))
    assert read.answers("t", b"n")
    assert not read.answers("t", b"m")
    assert not read.answers("u", b"n")
    assert (read.envelope.cipher, read.envelope.recipient.transport) == (cipher, transport)
    key = device.decrypt(read.envelope.recipient.encrypted_key, TRANSPORT_PADDINGS[transport])
    assert open_reply(read, key) == ([make.device(), make.ra()], [])


SHA256_ID = make.DIGEST_OIDS["sha256"]


@pytest.mark.parametrize(
    "bent",
    [
        {"signature_id": make.algorithm(make.RSA)},
        {"signature_id": make.algorithm(make.SHA256_WITH_RSA, make.NULL)},
        {"signature_id": make.algorithm(make.SHA256_WITH_RSA)},
        {"digest_id": make.algorithm(SHA256_ID)},
        {"unsigned_attributes": element(0xA1, attribute("1.2.3", b"\x05\x00"))},
    ],
)
def test_identifier_forms_of_t7(bent: dict[str, bytes]) -> None:
    assert parse(make.request(**bent)).message_type is MessageType.PKCS_REQ


def test_signed_attributes_may_come_in_any_order_but_are_signed_in_der() -> None:
    content = make.envelope()
    digest = attribute(make.MESSAGE_DIGEST, element(0x04, hashlib.sha256(content).digest()))
    shuffled = sorted([*scep_attributes(), digest], reverse=True)
    assert parse(make.request(content, message_digest=digest, order=shuffled)).message_type is MessageType.PKCS_REQ


def test_a_signature_over_the_received_order_is_not_accepted() -> None:
    content = make.envelope()
    digest = attribute(make.MESSAGE_DIGEST, element(0x04, hashlib.sha256(content).digest()))
    shuffled = sorted([*scep_attributes(), digest], reverse=True)
    signature = make.sign(make.rsa_key("device"), element(0x31, *shuffled))
    data = make.request(content, message_digest=digest, order=shuffled, signature=signature)
    assert refused(data).reason is Reason.SIGNATURE


@pytest.mark.parametrize("tag", [0x0C, 0x13, 0x16])
def test_string_types_of_t6(tag: int) -> None:
    attributes = scep_attributes(
        tid=attribute(make.TRANSACTION_ID, element(tag, b"any-id")),
        type=attribute(make.MESSAGE_TYPE, element(tag, b"19")),
        extra=attribute("1.2.3.4", printable("x"), printable("y")),
    )
    assert parse(make.request(attributes=attributes)).reply_to.transaction_id == "any-id"


@pytest.mark.parametrize("length", [1, 8, 16, 20, 64])
def test_nonces_of_any_length_are_kept(length: int) -> None:
    nonce = os.urandom(length)
    assert parse(make.request(attributes=scep_attributes(nonce=nonce))).reply_to.sender_nonce == nonce


def test_signer_by_key_identifier_with_and_without_the_extension() -> None:
    key = make.rsa_key("device")
    ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    for extensions in ([(ski, False)], []):
        cert = make.certificate(key, extensions=extensions)
        assert parse(make.request(cert=cert, sid=element(0x80, ski.digest))).signer.der == cert


def test_recipient_by_key_identifier() -> None:
    ski = x509.SubjectKeyIdentifier.from_public_key(make.rsa_key("ra").public_key()).digest
    encrypted = make.rsa_key("ra").public_key().encrypt(CONTENT_KEY, padding.PKCS1v15())
    recipient = element(
        0x30, b"\x02\x01\x02", element(0x80, ski), make.algorithm(make.RSA, make.NULL), element(0x04, encrypted)
    )
    sealed = parse(make.request(make.envelope(recipient=recipient)))
    assert sealed.envelope.recipient.recipient.ski == ski
    assert open_request(sealed, unwrap(sealed)).der == make.device_csr()


def test_odd_signer_certificates_of_t7_t8_t9() -> None:
    key = make.rsa_key("device")
    other = x509.AuthorityKeyIdentifier.from_issuer_public_key(make.rsa_key("ra").public_key())
    windows = make.certificate(key, "SCEP Protocol Certificate", extensions=[(other, True)])
    sha1 = windows.replace(encode(OID(make.SHA256_WITH_RSA)), encode(OID("1.2.840.113549.1.1.5")))
    for cert in (
        sha1,
        make.certificate(key, ""),
        make.certificate(key, "old", year=1999),
        make.certificate(key, "x", year=2049),
    ):
        sealed = parse(make.request(cert=cert, bag=[make.ra(), cert, b"\x30\x00"]))
        assert sealed.signer.der == cert


def test_encoded_default_false_in_the_signer_certificate() -> None:
    key = make.rsa_key("device")
    cert = make.certificate(key, extensions=[(x509.BasicConstraints(ca=False, path_length=None), False)])
    plain = bytes.fromhex("300906 03551d13 0402 3000".replace(" ", ""))
    assert plain in cert
    tbs = second_x509.Certificate.load(cert)["tbs_certificate"].dump()
    extension = bytes.fromhex("300c0603551d130101000402 3000".replace(" ", ""))
    grown = tbs.replace(element(0xA3, element(0x30, plain)), element(0xA3, element(0x30, extension)))
    content = grown[4:]
    odd = element(
        0x30, element(0x30, content), make.algorithm(make.SHA256_WITH_RSA, make.NULL), element(0x03, bytes(257))
    )
    with pytest.raises(ValueError, match="parsing"):
        _ = x509.load_der_x509_certificate(odd).extensions
    assert parse(make.request(cert=odd)).signer.der == odd


@pytest.mark.parametrize("curve", ["secp256r1", "secp384r1", "secp521r1"])
def test_ec_signers(curve: str) -> None:
    key = make.ec_key(curve)
    cert = make.certificate(key)
    sealed = parse(make.request(key=key, cert=cert))
    assert not sealed.signer.can_encrypt
    generic = make.request(key=key, cert=cert, signature_id=make.algorithm("1.2.840.10045.2.1"))
    assert parse(generic).signer.der == cert


def test_poll_needs_no_content() -> None:
    sealed = parse(make.request(attributes=scep_attributes("20"), absent=True))
    assert (sealed.message_type, sealed.envelope) == (MessageType.CERT_POLL, None)
    with pytest.raises(ValueError, match="CertPoll"):
        open_request(sealed, CONTENT_KEY)
    assert refused(make.request(absent=True)).reason is Reason.STRUCTURE


def for_somebody_else() -> bytes:
    rid = make.sid_of(make.device())
    return make.envelope(
        recipient=element(0x30, b"\x02\x01\x00", rid, make.algorithm(make.RSA, make.NULL), element(4, b"k" * 256))
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (for_somebody_else, Reason.UNREADABLE),
        (lambda: make.envelope(cipher=Cipher.DES3_CBC), Reason.ALGORITHM),
        (lambda: b"", Reason.STRUCTURE),
        (lambda: b"no envelope at all", Reason.STRUCTURE),
        (lambda: make.envelope()[:-1], Reason.STRUCTURE),
    ],
    ids=["for somebody else", "cipher", "empty", "junk", "cut"],
)
def test_poll_is_read_whatever_its_envelope_is(content: Callable[[], bytes], reason: Reason) -> None:
    sealed = parse(make.request(content(), scep_attributes("20")))
    assert (sealed.message_type, sealed.envelope) == (MessageType.CERT_POLL, None)
    assert refused(make.request(content())).reason is reason


def test_poll_with_an_envelope_for_us_tells_its_cipher() -> None:
    sealed = parse(make.request(make.envelope(cipher=Cipher.AES256_CBC), scep_attributes("20")))
    assert sealed.envelope is not None
    assert sealed.envelope.cipher is Cipher.AES256_CBC


def test_signing_time_is_read() -> None:
    attributes = scep_attributes(time=attribute(make.SIGNING_TIME, element(0x17, b"260102030405Z")))
    assert parse(make.request(attributes=attributes)).signing_time.isoformat() == "2026-01-02T03:04:05+00:00"
    general = scep_attributes(time=attribute(make.SIGNING_TIME, element(0x18, b"20510102030405Z")))
    assert parse(make.request(attributes=general)).signing_time.year == 2051


@pytest.mark.parametrize(
    "values",
    [
        [element(0x17, b"260102030405+0000")],
        [element(0x17, b"2601020304Z")],
        [element(0x17, b"yesterday")],
        [element(0x17, b"260102030405Z"), element(0x17, b"260102030406Z")],
        [],
    ],
)
def test_signing_time_that_does_not_read_is_left_to_who_asks_for_it(values: list[bytes]) -> None:
    sealed = parse(make.request(attributes=scep_attributes(time=attribute(make.SIGNING_TIME, *values))))
    assert (sealed.signing_time, sealed.signing_time_unreadable) == (None, True)
    sealed = parse(make.request())
    assert (sealed.signing_time, sealed.signing_time_unreadable) == (None, False)


def test_a_replayed_message_reads_the_same() -> None:
    data = make.request()
    assert parse(data).reply_to == parse(data).reply_to


def _infos(count: int) -> bytes:
    content = make.envelope()
    info = make.signer_info(make.rsa_key("device"), make.device(), content, scep_attributes())
    return make.signed_data(content, [info] * count, [make.device()])


UNADDRESSABLE = {
    "no CMS": lambda: b"\x30\x03\x02\x01\x01",
    "empty": lambda: b"",
    "text": lambda: b"GET / HTTP/1.1",
    "enveloped only": make.envelope,
    "compressed (N11)": lambda: make.signed_data(b"", [], [], outer="1.2.840.113549.1.9.16.1.9"),
    "no signer (N7)": lambda: _infos(0),
    "two signers (N7)": lambda: _infos(2),
    "no transactionID": lambda: make.request(attributes=scep_attributes(tid=None)),
    "no senderNonce": lambda: make.request(attributes=scep_attributes(nonce=None)),
    "two transactionIDs": lambda: make.request(
        attributes=scep_attributes(again=attribute(make.TRANSACTION_ID, printable("other")))
    ),
    "transactionID with two values": lambda: make.request(
        attributes=scep_attributes(tid=attribute(make.TRANSACTION_ID, printable("a"), printable("b")))
    ),
    "empty transactionID": lambda: make.request(attributes=scep_attributes(transaction_id="")),
    "transactionID of 257": lambda: make.request(attributes=scep_attributes(transaction_id="x" * 257)),
    "transactionID with NUL": lambda: make.request(attributes=scep_attributes(transaction_id="a\0b")),
    "transactionID not UTF-8": lambda: make.request(
        attributes=scep_attributes(tid=attribute(make.TRANSACTION_ID, element(0x0C, b"\xff")))
    ),
    "transactionID an INTEGER": lambda: make.request(
        attributes=scep_attributes(tid=attribute(make.TRANSACTION_ID, b"\x02\x01\x01"))
    ),
    "empty nonce": lambda: make.request(attributes=scep_attributes(nonce=b"")),
    "nonce of 65": lambda: make.request(attributes=scep_attributes(nonce=bytes(65))),
}


@pytest.mark.parametrize("case", UNADDRESSABLE)
def test_unaddressable_is_malformed(case: str) -> None:
    with pytest.raises(Malformed):
        parse(UNADDRESSABLE[case]())


def test_attributes_outside_the_signature_do_not_count() -> None:
    outside = element(0xA1, attribute(make.TRANSACTION_ID, printable("tid-1")))
    with pytest.raises(Malformed):
        parse(make.request(attributes=scep_attributes(tid=None), unsigned_attributes=outside))


def test_no_signed_attributes_at_all() -> None:
    content, key = make.envelope(), make.rsa_key("device")
    info = element(
        0x30,
        b"\x02\x01\x01",
        make.sid_of(make.device()),
        make.algorithm(SHA256_ID, make.NULL),
        make.algorithm(make.RSA, make.NULL),
        element(0x04, make.sign(key, content)),
    )
    with pytest.raises(Malformed):
        parse(make.signed_data(content, [info], [make.device()]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_requests_raise_only_typed_errors(data: st.DataObject) -> None:
    message = bytearray(make.request())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        if data.draw(st.booleans()):
            message[at] = data.draw(st.integers(0, 255))
        else:
            del message[at : at + data.draw(st.integers(1, 40))]
    try:
        sealed = parse(bytes(message), LEGACY)
        open_request(sealed, CONTENT_KEY)
    except (Malformed, Refusal):
        pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_damaged_contents_raise_only_typed_errors(content: bytes) -> None:
    sealed = parse(make.request())
    bent = dataclasses.replace(sealed, envelope=dataclasses.replace(sealed.envelope, ciphertext=content))
    with pytest.raises(Refusal, match="content does not open"):
        open_request(bent, CONTENT_KEY)
