"""Opening a request: one answer to every content that is not right (N12)."""

from __future__ import annotations

import dataclasses
import os

import pytest
from asn1crypto import csr as second_csr
from cryptography.exceptions import InvalidSignature

from scep_server.codec import messages
from scep_server.codec.csr import parse_csr
from scep_server.codec.messages import (
    open_request,
)
from scep_server.codec.requests import issuer_and_serial
from scep_server.errors import Malformed, Reason, Refusal
from tests.codec import scep_messages as make
from tests.codec.scep_messages import (
    CONTENT_KEY,
    element,
    parse,
    scep_attributes,
)


def _bad_signature_csr() -> bytes:
    data = bytearray(make.device_csr())
    data[-1] ^= 1
    return bytes(data)


UNREADABLE = {
    "bad padding": lambda sealed: dataclasses.replace(
        sealed, envelope=dataclasses.replace(sealed.envelope, ciphertext=sealed.envelope.ciphertext[:-16])
    ),
    "no ciphertext": lambda sealed: dataclasses.replace(
        sealed, envelope=dataclasses.replace(sealed.envelope, ciphertext=b"")
    ),
    "not whole blocks": lambda sealed: dataclasses.replace(
        sealed, envelope=dataclasses.replace(sealed.envelope, ciphertext=sealed.envelope.ciphertext[:-1])
    ),
    "not a CSR": lambda _: parse(make.request(make.envelope(b"\x30\x03\x02\x01\x00"))),
    "empty content": lambda _: parse(make.request(make.envelope(b""))),
    "CSR with a bad signature": lambda _: parse(make.request(make.envelope(_bad_signature_csr()))),
    "CSR in BER": lambda _: parse(make.request(make.envelope(b"\x30\x80" + make.device_csr()[4:] + b"\0\0"))),
    "deep content": lambda _: parse(make.request(make.envelope(b"\x30\x80" * 100 + b"\0\0" * 100))),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_every_bad_content_is_one_answer(case: str) -> None:
    sealed = UNREADABLE[case](parse(make.request()))
    with pytest.raises(Refusal) as caught:
        open_request(sealed, CONTENT_KEY)
    assert (caught.value.reason, str(caught.value), caught.value.reply_to) == (
        Reason.UNREADABLE,
        "unreadable: content does not open",
        sealed.reply_to,
    )


@pytest.mark.parametrize("key", [bytes(16), b"", bytes(24), os.urandom(16)], ids=["zeros", "none", "long", "random"])
def test_any_wrong_key_is_the_same_answer(key: bytes) -> None:
    with pytest.raises(Refusal, match="content does not open"):
        open_request(parse(make.request()), key)


def test_right_csr_with_wrong_padding_is_not_accepted() -> None:
    # A CSR that fills its blocks, sent without padding: the parser alone would take it.
    for length in range(1, 17):
        content = make.csr(make.rsa_key("device"), "x" * length)
        if len(content) % 16 == 0:
            break
    padded = parse(make.request(make.envelope(content)))
    assert open_request(padded, CONTENT_KEY).der == content
    bare = dataclasses.replace(padded.envelope, ciphertext=padded.envelope.ciphertext[:-16])
    with pytest.raises(Refusal, match="content does not open"):
        open_request(dataclasses.replace(padded, envelope=bare), CONTENT_KEY)


def test_sha1_csr_is_bad_alg_unless_allowed() -> None:
    content = _sha1_csr()
    sealed = parse(make.request(make.envelope(content)))
    with pytest.raises(Refusal) as caught:
        open_request(sealed, CONTENT_KEY)
    assert (caught.value.reason, caught.value.reply_to) == (Reason.ALGORITHM, sealed.reply_to)
    assert open_request(sealed, CONTENT_KEY, allow_sha1=True).der == content


def _sha1_csr() -> bytes:
    key = make.rsa_key("device")
    info = second_csr.CertificationRequest.load(make.device_csr())["certification_request_info"].dump()
    signature = make.sign(key, info, "sha1")
    return element(0x30, info, make.algorithm("1.2.840.113549.1.1.5", make.NULL), element(0x03, b"\0", signature))


@pytest.mark.parametrize("serial", [0, -5, 1 << 2000, 77])
def test_queries_read_any_serial(serial: int) -> None:
    issuer = make.name("ra").public_bytes()
    data = make.request(make.envelope(issuer_and_serial(issuer, serial)), scep_attributes("21"))
    asked = open_request(parse(data), CONTENT_KEY)
    assert (asked.issuer, asked.serial) == (issuer, serial)


@pytest.mark.parametrize("kind", ["21", "22"])
def test_unreadable_queries_are_no_such_certificate(kind: str) -> None:
    data = make.request(make.envelope(b"\x30\x00"), scep_attributes(kind))
    for key in (CONTENT_KEY, bytes(16)):
        with pytest.raises(Refusal) as caught:
            open_request(parse(data), key)
        assert caught.value.reason is Reason.NO_SUCH_CERTIFICATE


def test_a_failed_verification_shows_in_its_cause() -> None:
    # open_request does the same work on every failure, and tells by this that a verification was done already (N12).
    with pytest.raises(Malformed) as caught:
        parse_csr(_bad_signature_csr())
    assert isinstance(caught.value.__cause__, InvalidSignature)
    with pytest.raises(Malformed) as caught:
        parse_csr(messages._DUMMY_CSR)
    assert isinstance(caught.value.__cause__, InvalidSignature)
    with pytest.raises(Malformed) as caught:
        parse_csr(messages._NO_CSR)
    assert not isinstance(caught.value.__cause__, InvalidSignature)
