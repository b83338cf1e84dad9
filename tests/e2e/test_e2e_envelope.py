"""Envelopes that must not lead to a certificate (N8, N11, N12, R43, R44, R50)."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable

import pytest
from cryptography import x509

from tests.bench.oracle import Classes, visible
from tests.e2e import crafted, wire
from tests.e2e.crafted import attributes_of, envelope, message, recipient, seal
from tests.e2e.der import algorithm, context, integer, octets, oid, sequence
from tests.e2e.identities import Device, certificate, certification_request, name, rsa_key
from tests.e2e.outcomes import BAD_ALG, BAD_REQUEST, NOT_SCEP, send
from tests.e2e.server import ScepServer

pytestmark = pytest.mark.usefixtures("nothing_issued")
DEVICE_NAME = "negative-envelope"
Build = Callable[[bytes, bytes], bytes]
"""(CSR, recipient certificate) to envelope."""


@pytest.fixture(scope="module")
def device() -> Device:
    return Device.named(DEVICE_NAME)


def kek_recipient() -> bytes:
    """KEKRecipientInfo [2]."""
    kekid = sequence(octets(b"key"))
    return context(2, integer(4), kekid, algorithm("2.16.840.1.101.3.4.1.5", b""), octets(os.urandom(24)))


def other_recipient() -> bytes:
    """OtherRecipientInfo [4]."""
    return context(4, oid("1.2.3.4"), octets(b"whatever"))


def mixed(*extra: Callable[[], bytes]) -> Build:
    """Ours, and others beside it that are not ours."""

    def build(csr: bytes, ra: bytes) -> bytes:
        cek = os.urandom(16)
        return envelope(csr, [recipient(ra, cek), *(one() for one in extra)], cek)

    return build


def twice(csr: bytes, ra: bytes) -> bytes:
    cek = os.urandom(16)
    return envelope(csr, [recipient(ra, cek), recipient(ra, cek)], cek)


def once_by_each_name(csr: bytes, ra: bytes) -> bytes:
    cek = os.urandom(16)
    return envelope(csr, [recipient(ra, cek), recipient(ra, cek, by="ski")], cek, version=2)


def thousand(csr: bytes, ra: bytes) -> bytes:
    cek = os.urandom(16)
    short = recipient(ra, cek, encrypted_key=b"", serial=integer(7))
    return envelope(csr, [recipient(ra, cek), *[short] * 150], cek)


def for_somebody_else(csr: bytes, ra: bytes) -> bytes:
    return seal(csr, certificate(rsa_key(5), b"0\0"))


def our_name_other_serial(csr: bytes, ra: bytes) -> bytes:
    cek = os.urandom(16)
    return envelope(csr, [recipient(ra, cek, serial=integer(12345))], cek)


def compressed(csr: bytes, ra: bytes) -> bytes:
    """CompressedData inside the envelope (RFC 3274)."""
    inner = sequence(oid(crafted.DATA), context(0, octets(zlib.compress(csr))))
    body = sequence(integer(0), algorithm("1.2.840.113549.1.9.16.3.8", b""), inner)
    return seal(sequence(oid("1.2.840.113549.1.9.16.1.9"), context(0, body)), ra)


def inner_type_signed(csr: bytes, ra: bytes) -> bytes:
    cek = os.urandom(16)
    return envelope(csr, [recipient(ra, cek)], cek, content_type=crafted.SIGNED_DATA)


ENVELOPES: dict[str, tuple[Build, set[str]]] = {
    "ours-twice": (twice, {BAD_REQUEST}),
    "ours-by-each-name": (once_by_each_name, {BAD_REQUEST}),
    "ours-and-150-others": (thousand, {BAD_REQUEST, NOT_SCEP}),
    "only-a-kek": (lambda csr, _: envelope(csr, [kek_recipient()], os.urandom(16)), {BAD_REQUEST}),
    "only-an-ori": (lambda csr, _: envelope(csr, [other_recipient()], os.urandom(16)), {BAD_REQUEST}),
    "nobody": (lambda csr, _: envelope(csr, [], os.urandom(16)), {BAD_REQUEST}),
    "somebody-else": (for_somebody_else, {BAD_REQUEST}),
    "our-name-other-serial": (our_name_other_serial, {BAD_REQUEST}),
    "compressed-content": (compressed, {BAD_REQUEST}),
    "content-type-not-data": (inner_type_signed, {BAD_REQUEST}),
    "another-envelope-inside": (lambda csr, ra: seal(seal(csr, ra), ra), {BAD_REQUEST}),
    "iv-too-short": (lambda csr, ra: spoiled_iv(csr, ra, 8), {BAD_REQUEST, BAD_ALG}),
    "iv-too-long": (lambda csr, ra: spoiled_iv(csr, ra, 17), {BAD_REQUEST, BAD_ALG}),
    "ciphertext-not-whole-blocks": (lambda csr, ra: cut(csr, ra, 7), {BAD_REQUEST}),
    "ciphertext-empty": (lambda csr, ra: cut(csr, ra, None), {BAD_REQUEST}),
}


def spoiled_iv(csr: bytes, ra: bytes, length: int) -> bytes:
    cek = os.urandom(16)
    return envelope(b"", [recipient(ra, cek)], cek, iv=bytes(length), ciphertext=csr[: len(csr) // 16 * 16])


def cut(csr: bytes, ra: bytes, by: int | None) -> bytes:
    cek = os.urandom(16)
    ciphertext = b"" if by is None else crafted.encrypt("aes128", cek, bytes(16), csr)[:-by]
    return envelope(b"", [recipient(ra, cek)], cek, iv=bytes(16), ciphertext=ciphertext)


@pytest.mark.parametrize("case", ENVELOPES)
def test_envelope_refused(server: ScepServer, device: Device, case: str):
    build, expected = ENVELOPES[case]
    csr = certification_request(device.key, device.subject, challenge=server.secret)
    body = message(device, build(csr, server.ra), attributes_of())
    assert send(server.url, body).short in expected


@pytest.mark.parametrize("extra", [kek_recipient, other_recipient], ids=["kek", "ori"])
def test_envelope_with_a_stranger_beside_us_is_never_worse_than_refused(server: ScepServer, extra: Callable[[], bytes]):
    """RFC 8894 has one recipient; a second one that is not ours may be ignored or refused, but not confuse."""
    device = Device.named("control-stranger")
    csr = certification_request(device.key, device.subject, challenge=server.secret)
    body = message(device, mixed(extra)(csr, server.ra), attributes_of())
    assert send(server.url, body).short in {"SUCCESS", BAD_REQUEST}


def test_envelope_failures_all_look_the_same(server: ScepServer, device: Device):
    """N12: from the unwrap to the CSR's signature there is one answer. The clock is looked at by `make bench`."""
    classes = Classes(device, server.ra).all()
    seen = set()
    for build in classes.values():
        body = message(device, build(), attributes_of(transaction_id=os.urandom(8).hex()))
        answer = wire.post(server.url, body)
        head = "\r\n".join(f"{key}: {value}" for key, value in sorted(answer.headers.items())).encode()
        seen.add((answer.status, visible(head, answer.body)))
    assert len(classes) == 7
    assert len(seen) == 1


@pytest.mark.parametrize("kind", ["21", "22"])
def test_envelope_failures_of_queries_look_like_no_such_certificate(server: ScepServer, device: Device, kind: str):
    foreign = name(("CN", "An issuing CA of about this length of name"))
    unknown = seal(sequence(foreign, integer(4711)), server.ra)
    broken = Classes(device, server.ra).bad_rsa_padding()
    seen = set()
    for content in (unknown, broken):
        answer = wire.post(server.url, message(device, content, attributes_of(kind, transaction_id="q" * 16)))
        head = "\r\n".join(f"{key}: {value}" for key, value in sorted(answer.headers.items())).encode()
        seen.add(visible(head, answer.body))
        assert send(server.url, message(device, content, attributes_of(kind))).short == "FAILURE 4"
    assert len(seen) == 1


def test_envelope_under_a_million_iterations_is_refused_at_once(server: ScepServer, device: Device):
    """R50, N23: the count is judged before it is counted."""
    begun = time.monotonic()
    assert send(server.url, message(device, password_bomb(1_000_000), attributes_of())).short in {BAD_REQUEST, BAD_ALG}
    assert time.monotonic() - begun < 0.2


def password_bomb(iterations: int) -> bytes:
    """An envelope for a password that takes this many rounds of PBKDF2 to try."""
    prf = algorithm("1.2.840.113549.2.9")
    derivation = sequence(octets(bytes(8)), integer(iterations), prf)
    wrap = sequence(oid("1.2.840.113549.1.9.16.3.9"), sequence(oid(crafted.CIPHERS["aes128"][0]), octets(bytes(16))))
    info = context(3, integer(0), context(0, oid("1.2.840.113549.1.5.12"), derivation), wrap, octets(bytes(32)))
    return envelope(bytes(500), [info], os.urandom(16), version=3)


def test_envelope_recipient_is_the_ra_and_not_the_ca(server: ScepServer, device: Device):
    issuing = server.ca_certificates()[1]
    assert x509.load_der_x509_certificate(issuing).extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    csr = certification_request(device.key, device.subject, challenge=server.secret)
    info = recipient(issuing, bytes(16), encrypted_key=os.urandom(256))
    body = message(device, envelope(csr, [info], bytes(16)), attributes_of())
    assert send(server.url, body).short == BAD_REQUEST
