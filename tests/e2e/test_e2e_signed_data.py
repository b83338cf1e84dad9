"""Outer SignedData that must not lead to a certificate (N1, N6, N7, R27 to R32, R37, R46), one fault at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import crafted
from tests.e2e.crafted import (
    attributes_of,
    message,
    pkcs_req,
    seal,
    signed_data,
    signer_info,
)
from tests.e2e.der import algorithm, attribute, octets, oid, printable, utf8
from tests.e2e.identities import Device, certificate, certification_request, rsa_key
from tests.e2e.outcomes import BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, NOT_SCEP, SUCCESS, send
from tests.e2e.server import ScepServer

pytestmark = pytest.mark.usefixtures("nothing_issued")


@dataclass
class Bench:
    """A device with a right challenge and a sealed CSR: everything that a case may then spoil."""

    device: Device
    recipient: bytes
    challenge: str

    @property
    def sealed(self) -> bytes:
        csr = certification_request(self.device.key, self.device.subject, challenge=self.challenge)
        return seal(csr, self.recipient)

    def message(self, *, bend: dict[str, Any] | None = None, **options: Any) -> bytes:
        return message(self.device, self.sealed, attributes_of(**(bend or {})), **options)

    def signed(self, **how: Any) -> tuple[bytes, bytes]:
        """A sealed CSR and a SignerInfo over it; how goes to signer_info."""
        content = self.sealed
        listed = attributes_of().elements(content, "sha256")
        return content, signer_info(self.device.certificate, self.device.key, listed, **how)


@pytest.fixture(scope="module")
def bench(server: ScepServer) -> Bench:
    return Bench(Device.named("negative-signed"), server.ra, server.secret)


def outcome(server: ScepServer, body: bytes) -> str:
    return send(server.url, body).short


# --- N1: the allow-list of message types ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["0", "1", "3", "18", "23", "99", "19 ", " 19", "019", "+19", "0x13", "", "-1", "٣"])
def test_signed_data_of_unknown_type(server: ScepServer, bench: Bench, kind: str):
    value = utf8(kind) if not kind.isascii() else kind
    assert outcome(server, bench.message(bend={"message_type": value})) == BAD_REQUEST


def test_signed_data_of_renewal_where_renewal_is_off(server: ScepServer, bench: Bench):
    assert outcome(server, bench.message(bend={"message_type": "17"})) == BAD_REQUEST


# --- N6: signatures that cover nothing --------------------------------------------------------------------------------


def other_digest(bench: Bench) -> bytes:
    content, listed = bench.sealed, attributes_of().elements(os.urandom(20), "sha256")
    info = signer_info(bench.device.certificate, bench.device.key, listed)
    return signed_data(content, [info], [bench.device.certificate])


def no_attributes(bench: Bench) -> bytes:
    content = bench.sealed
    info = signer_info(bench.device.certificate, bench.device.key, None, content=content)
    return signed_data(content, [info], [bench.device.certificate])


def unsigned_only(bench: Bench) -> bytes:
    content, given = bench.sealed, attributes_of()
    listed = given.elements(content, "sha256")
    kept = [one for one in listed if oid(crafted.MESSAGE_TYPE) not in one]
    moved = [one for one in listed if one not in kept]
    info = signer_info(bench.device.certificate, bench.device.key, kept, unsigned=moved)
    return signed_data(content, [info], [bench.device.certificate])


def doubled(kind: str, value: bytes) -> Callable[[Bench], bytes]:
    return lambda bench: bench.message(bend={"more": [attribute(kind, value)]})


def without(*kinds: str) -> Callable[[Bench], bytes]:
    return lambda bench: bench.message(bend={"without": frozenset(kinds)})


def two_values(bench: Bench) -> bytes:
    both = attribute(crafted.MESSAGE_TYPE, printable("17"), printable("19"))
    return bench.message(bend={"without": frozenset({crafted.MESSAGE_TYPE}), "more": [both]})


SPOILED: dict[str, tuple[Callable[[Bench], bytes], set[str]]] = {
    "no-signed-attributes": (no_attributes, {NOT_SCEP}),
    "digest-of-other-content": (other_digest, {BAD_MESSAGE_CHECK}),
    "no-message-digest": (without(crafted.MESSAGE_DIGEST), {BAD_MESSAGE_CHECK, BAD_REQUEST}),
    "two-message-digests": (doubled(crafted.MESSAGE_DIGEST, octets(bytes(32))), {BAD_MESSAGE_CHECK, BAD_REQUEST}),
    "no-content-type": (without(crafted.CONTENT_TYPE), {BAD_MESSAGE_CHECK, BAD_REQUEST}),
    "content-type-attribute-other": (
        lambda bench: bench.message(bend={"content_type": crafted.ENVELOPED_DATA}),
        {BAD_MESSAGE_CHECK, BAD_REQUEST},
    ),
    "two-message-types": (doubled(crafted.MESSAGE_TYPE, printable("17")), {BAD_REQUEST, NOT_SCEP}),
    "message-type-two-values": (two_values, {BAD_REQUEST, NOT_SCEP}),
    "message-type-unsigned": (unsigned_only, {BAD_REQUEST, NOT_SCEP}),
    "no-message-type": (without(crafted.MESSAGE_TYPE), {BAD_REQUEST}),
    "no-transaction-id": (without(crafted.TRANSACTION_ID), {NOT_SCEP}),
    "two-transaction-ids": (doubled(crafted.TRANSACTION_ID, printable("other")), {NOT_SCEP}),
    "no-sender-nonce": (without(crafted.SENDER_NONCE), {NOT_SCEP}),
    "empty-transaction-id": (lambda bench: bench.message(bend={"transaction_id": ""}), {NOT_SCEP, BAD_REQUEST}),
    "empty-nonce": (lambda bench: bench.message(bend={"nonce": b""}), {NOT_SCEP, BAD_REQUEST}),
    "huge-nonce": (lambda bench: bench.message(bend={"nonce": bytes(65)}), {NOT_SCEP, BAD_REQUEST}),
    "signed-by-another-key": (lambda bench: bench.message(signer=rsa_key(3)), {BAD_MESSAGE_CHECK}),
    "digest-not-the-signature's": (
        lambda bench: bench.message(signature_identifier=algorithm("1.2.840.113549.1.1.13")),
        {BAD_MESSAGE_CHECK, BAD_ALG, BAD_REQUEST},
    ),
    "signature-empty": (lambda bench: bench.message(signature=b""), {BAD_MESSAGE_CHECK}),
    "signature-zero": (lambda bench: bench.message(signature=bytes(256)), {BAD_MESSAGE_CHECK}),
}


@pytest.mark.parametrize("case", SPOILED)
def test_signed_data_spoiled(server: ScepServer, bench: Bench, case: str):
    build, expected = SPOILED[case]
    assert outcome(server, build(bench)) in expected


# --- N7, R27, R31: who signed, and what -------------------------------------------------------------------------------


def two_signers(bench: Bench, *, evil_first: bool) -> bytes:
    content, good = bench.signed()
    evil_device = Device.named("negative-evil", rsa_key(4))
    listed = attributes_of().elements(content, "sha256")
    evil = signer_info(evil_device.certificate, evil_device.key, listed)
    infos = [evil, good] if evil_first else [good, evil]
    return signed_data(content, infos, [bench.device.certificate, evil_device.certificate])


def signer_not_in_bag(bench: Bench) -> bytes:
    return bench.message(certificates=[Device.named("negative-other", rsa_key(4), serial=2).certificate])


def twins_in_bag(bench: Bench) -> bytes:
    """Another key under the same issuer and serial, in front of the real signer."""
    twin = certificate(rsa_key(4), bench.device.subject)
    return bench.message(certificates=[twin, bench.device.certificate])


def bare_csr(bench: Bench) -> bytes:
    csr = certification_request(bench.device.key, bench.device.subject, challenge=bench.challenge)
    return message(bench.device, csr, attributes_of())


def other_content_type(bench: Bench) -> bytes:
    content, info = bench.signed()
    return signed_data(content, [info], [bench.device.certificate], content_type=crafted.ENVELOPED_DATA)


def many_certificates(bench: Bench) -> bytes:
    others = [certificate(rsa_key(4), bench.device.subject, serial=number + 2) for number in range(11)]
    return bench.message(certificates=[bench.device.certificate, *others])


COMPOSED: dict[str, tuple[Callable[[Bench], bytes], set[str]]] = {
    "good-then-evil": (lambda bench: two_signers(bench, evil_first=False), {NOT_SCEP, BAD_REQUEST}),
    "evil-then-good": (lambda bench: two_signers(bench, evil_first=True), {NOT_SCEP, BAD_REQUEST}),
    "no-signer": (lambda bench: signed_data(bench.sealed, [], [bench.device.certificate]), {NOT_SCEP}),
    "signer-not-in-bag": (signer_not_in_bag, {NOT_SCEP, BAD_MESSAGE_CHECK, BAD_REQUEST}),
    "empty-bag": (lambda bench: bench.message(certificates=[]), {NOT_SCEP, BAD_MESSAGE_CHECK, BAD_REQUEST}),
    "twins-in-bag": (twins_in_bag, {NOT_SCEP, BAD_MESSAGE_CHECK, BAD_REQUEST}),
    "bag-of-twelve": (many_certificates, {NOT_SCEP, BAD_MESSAGE_CHECK, BAD_REQUEST}),
    "csr-in-the-clear": (bare_csr, {BAD_REQUEST}),
    "no-content": (lambda bench: message(bench.device, None, attributes_of()), {BAD_REQUEST}),
    "content-type-not-data": (other_content_type, {BAD_REQUEST, BAD_MESSAGE_CHECK, NOT_SCEP}),
    "trailing-bytes": (lambda bench: bench.message() + b"\0", {NOT_SCEP}),
    "cut-short": (lambda bench: bench.message()[:-7], {NOT_SCEP}),
    "not-cms": (lambda _: b"\x30\x03\x02\x01\x05", {NOT_SCEP}),
    "empty": (lambda _: b"", {NOT_SCEP}),
    "deep": (lambda _: b"\x30\x80" * 2000, {NOT_SCEP}),
    "length-of-2-to-the-63": (lambda _: b"\x30\x88\x80" + bytes(7) + b"x" * 40, {NOT_SCEP}),
}


@pytest.mark.parametrize("case", COMPOSED)
def test_signed_data_composed_wrongly(server: ScepServer, bench: Bench, case: str):
    build, expected = COMPOSED[case]
    assert outcome(server, build(bench)) in expected


# --- the signer's own key (N9, N23) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1024, 8192], ids=["rsa-1024", "rsa-8192"])
def test_signed_data_by_a_key_of_refused_size(server: ScepServer, bits: int):
    if bits == 8192:
        public = oversized_key()
        device = Device(rsa_key(), b"", certificate(rsa_key(), b"0\0", public_key=public))
    else:
        device = Device.named("negative-small", rsa_key(0, bits))
    body = pkcs_req(device, server.ra, server.secret, csr=certification_request(rsa_key(), b"0\0", challenge="x" * 20))
    assert outcome(server, body) in {BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, NOT_SCEP}


def oversized_key() -> bytes:
    """SubjectPublicKeyInfo with an 8192-bit modulus that nobody has a key for."""
    from tests.e2e.der import NULL, bits, integer, sequence

    modulus = int.from_bytes(b"\xc1" + os.urandom(1022) + b"\x01")
    return sequence(sequence(oid(crafted.RSA_ENCRYPTION), NULL), bits(sequence(integer(modulus), integer(65537))))


def test_signed_data_unspoiled_is_fine(server: ScepServer):
    """The control: the same road without a fault ends in a certificate."""
    device = Device.named("control-signed")
    assert outcome(server, Bench(device, server.ra, server.secret).message()) == SUCCESS
