"""The guard against every shape of bad TLV, and the transcoder against an encoder that does all that BER allows."""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from asn1crypto import cms as second
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_der_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st

from scep_server.codec import ber
from scep_server.codec.messages import open_request, parse_request
from scep_server.errors import Malformed, TooLarge
from tests.codec import scep_messages as make
from tests.codec.scep_messages import element

# --- guard ------------------------------------------------------------------------------------------------------------

MALFORMED = {
    "empty": b"",
    "tag only": b"\x30",
    "cut content": b"\x04\x05abc",
    "cut length": b"\x30\x82\x01",
    "trailing byte": b"\x05\x00\x00",
    "two messages": b"\x05\x00\x05\x00",
    "child longer than parent": b"\x30\x03\x04\x05abcde",
    "length 2^63": b"\x30\x88\x80" + bytes(7),
    "length of 9 octets": b"\x30\x89" + bytes(8) + b"\x01\x00",
    "length of 127 octets": b"\x30\xff" + bytes(127),
    "tag number above 30": b"\x3f\x1f\x00",
    "primitive of indefinite length": b"\x04\x80\x00\x00",
    "never ends": b"\x30\x80\x05\x00",
    "end cut in two": b"\x30\x03\x30\x80\x00\x00",
    "end-of-contents in a definite element": b"\x30\x02\x00\x00",
    "end-of-contents with a length": b"\x30\x80\x00\x01\x00",
    "end-of-contents as the message": b"\x00\x00",
    "33 deep, indefinite": b"\x30\x80" * 33 + b"\x00\x00" * 33,
    "30 80 to the end": b"\x30\x80" * 32768,
    "2001 elements": element(0x30, b"\x05\x00" * 2000),
}


def nested(depth: int) -> bytes:
    data = b"\x05\x00"
    for _ in range(depth):
        data = element(0x30, data)
    return data


@pytest.mark.parametrize("case", MALFORMED)
def test_guard_refuses(case: str) -> None:
    with pytest.raises(Malformed):
        ber.guard(MALFORMED[case])


def test_guard_limits_are_exact() -> None:
    ber.guard(nested(32))
    ber.guard(element(0x30, b"\x05\x00" * 1999))
    ber.guard(element(0x04, bytes(65536 - 4)))
    with pytest.raises(Malformed, match="deeper"):
        ber.guard(nested(33))
    with pytest.raises(TooLarge):
        ber.guard(element(0x04, bytes(65536 - 3)))
    with pytest.raises(TooLarge):
        ber.guard(bytes(11), max_size=10)


def test_guard_passes_what_der_and_ber_have() -> None:
    for data in (
        make.device(),
        make.device_csr(),
        make.envelope(),
        make.request(),
        b"\x30\x80\x24\x80\x04\x00\0\0\0\0",
    ):
        ber.guard(data)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.lists(st.sampled_from([0x30, 0x80, 0, 4, 0x24, 0x31, 1, 0xA0])).map(bytes)))
def test_any_bytes_raise_only_malformed(data: bytes) -> None:
    for function in (ber.guard, ber.to_der):
        try:
            function(data)
        except Malformed:
            continue


_PIECES = [b"\x30", b"\x31", b"\xa0", b"\x80", b"\x04", b"\x24", b"\x1f", b"\0", b"\1", b"\2", b"\3", b"\x81", b"\x82"]


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(_PIECES)).map(b"".join), st.tuples(st.integers(0, 5), st.integers(0))))
def test_what_the_glance_passes_the_thorough_look_passes_too(data: bytes | tuple[int, int]) -> None:
    if isinstance(data, tuple):
        number, seed = data
        changed = bytearray(messages()[number])
        random = Random(seed)
        for _ in range(random.randrange(3)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        data = bytes(changed)
    limits = ber.MAX_SIZE, 12, 140
    seen = ber._glance(data, *limits)
    if seen is not None:
        assert ber._scan(data, *limits) == seen


@pytest.mark.parametrize("number", range(6))
def test_a_glance_is_enough_for_der(number: int) -> None:
    assert ber._glance(messages()[number], ber.MAX_SIZE, ber.MAX_DEPTH, ber.MAX_ELEMENTS) is not None


HOSTILE = {
    "30 80": b"\x30\x80" * 32768,
    "tiny sets": element(0x30, b"\x31\x00" * 32000),
    "32 deep, wide": element(0x30, *[nested(29)] * 900)[:65536],
    "unsorted set of 2000": element(0x31, *(b"\x02\x02" + (5000 - i).to_bytes(2, "big") for i in range(1990))),
    "string in 1990 chunks": b"\x24\x80" + b"\x04\x1e" + b"\x04\x1c".join([bytes(28)] * 1990)[:30] + b"\0\0",
    "nested unsorted sets": element(0x30, *[b"\x31\x80" + b"\x05\x00\x04\x00" * 300 + b"\0\0"] * 3),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_input_is_answered_within_100_ms(case: str) -> None:
    before = time.thread_time()
    for function in (ber.guard, ber.to_der):
        try:
            function(HOSTILE[case][:65536])
        except Malformed:
            continue
    assert time.thread_time() - before < 0.1


# --- transcoder -------------------------------------------------------------------------------------------------------

STRINGS = {0x04, 0x0C, 0x13, 0x16}
BAGS = ((0x30, 0xA0, 0x30, 0xA0), (0x30, 0xA0, 0x30, 0xA1))
"""certificates and crls of a SignedData: the members are somebody's signed bytes."""
IMPLICIT = {(0x30, 0xA0, 0x30, 0x30, 0x80), (0x30, 0xA0, 0x30, 0x31, 0x30, 0x80)}
"""encryptedContent, and SubjectKeyIdentifier in a SignerInfo or KeyTransRecipientInfo."""


def split(data: bytes, start: int = 0) -> list[tuple[int, bytes]]:
    """(tag, content) of DER elements one behind the other."""
    parts = []
    while start < len(data):
        tag, length, content = data[start], data[start + 1], start + 2
        if length & 0x80:
            content += length & 0x7F
            length = int.from_bytes(data[start + 2 : content], "big")
        parts.append((tag, data[content : content + length]))
        start = content + length
    return parts


class Encoder:
    """Writes DER anew as BER, with a choice at every turn."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self.draw = draw

    def length(self, size: int) -> bytes:
        extra = self.draw(3)
        octets = size.to_bytes(max(1, (size.bit_length() + 7) // 8) + extra, "big")
        return bytes((size,)) if size < 0x80 and not extra else bytes((0x80 | len(octets),)) + octets

    def wrap(self, tag: int, content: bytes) -> bytes:
        if tag & 0x20 and self.draw(2):
            return bytes((tag, 0x80)) + content + b"\0\0"
        return bytes((tag,)) + self.length(len(content)) + content

    def string(self, tag: int, content: bytes, depth: int = 0) -> bytes:
        if depth > 2 or not self.draw(2):
            return self.wrap(tag, content)
        cuts = sorted(self.draw(len(content) + 1) for _ in range(self.draw(4)))
        pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        return self.wrap(tag | 0x20, b"".join(self.string(0x04, piece, depth + 1) for piece in pieces))

    def element(self, tag: int, content: bytes, path: tuple[int, ...] = ()) -> bytes:
        path = (*path, tag)
        if path in BAGS and self.signed:
            return self.wrap(tag, content)
        if tag in STRINGS or path in IMPLICIT:
            return self.string(tag, content)
        if not tag & 0x20:
            return self.wrap(tag, content)
        parts = [self.element(inner, value, path) for inner, value in split(content)]
        if tag == 0x31 and self.draw(2):
            parts.reverse()
        return self.wrap(tag, b"".join(parts))

    def message(self, der: bytes) -> bytes:
        self.signed = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" in der[:24]
        [(tag, content)] = split(der)
        return self.element(tag, content)


@functools.cache
def messages() -> list[bytes]:
    ski = element(0x80, bytes(range(20)))
    by_ski = element(0x30, b"\x02\x01\x02", ski, make.algorithm(make.RSA, make.NULL), element(0x04, bytes(256)))
    return [
        make.request(),
        make.request(bag=[make.ra(), make.device()], sid=ski),
        make.envelope(),
        make.envelope(recipient=by_ski),
        make.envelope(recipient=b"".join(sorted((by_ski, element(0xA2, b"\x02\x01\x00"), by_ski[:-1] + b"\x01")))),
        make.signed_data(None, [], [make.ra(), make.device()], crls=element(0xA1, element(0x30, b"\x02\x01\x07"))),
    ]


@pytest.mark.parametrize("number", range(6))
def test_der_comes_back_as_the_same_object(number: int) -> None:
    data = messages()[number]
    assert ber.to_der(data) is data


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 5), st.integers(0))
def test_any_ber_of_a_message_gives_its_der(number: int, seed: int) -> None:
    der = messages()[number]
    assert ber.to_der(Encoder(Random(seed).randrange).message(der)) == der


@settings(max_examples=40, deadline=None)
@given(st.integers(0))
def test_a_request_in_any_ber_reads_as_in_der(seed: int) -> None:
    random = Random(seed)
    inside = Encoder(random.randrange).message(make.envelope())
    data = Encoder(random.randrange).message(make.request(inside))
    sealed = parse_request(data, make.ALLOWED, make.recipients())
    assert sealed.signer.der == make.device()
    assert open_request(sealed, bytes(range(16))).der == make.device_csr()


def test_definite_constructed_ciphertext_as_go_clients_send_it() -> None:
    der = make.envelope()
    primitive = element(
        0x80, second.ContentInfo.load(der)["content"]["encrypted_content_info"]["encrypted_content"].contents
    )
    [(_, content)] = split(primitive)
    pieces = element(0xA0, element(0x04, content[:16]), element(0x04, b""), element(0x04, content[16:]))

    def swap(data: bytes) -> bytes:
        return b"".join(
            pieces if element(tag, value) == primitive else element(tag, swap(value) if tag & 0x20 else value)
            for tag, value in split(data)
        )

    odd = swap(der)
    assert odd != der
    assert ber.to_der(odd) == der


@pytest.mark.parametrize(
    "data",
    [
        b"\x24\x80\x02\x01\x01\x00\x00",
        b"\x24\x03\x30\x01\x05"[:5],
        b"\x23\x80\x03\x02\x00\x01\x00\x00",
        b"\x30\x80\x24\x80\xa0\x80\x00\x00\x00\x00\x00\x00",
    ],
)
def test_strings_of_something_else_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        ber.to_der(data)


def test_non_minimal_lengths_inside_a_certificate_stay() -> None:
    odd = b"\x30\x82\x00\x03\x02\x01\x05"
    data = make.signed_data(None, [], [odd])
    assert ber.to_der(data) is data
    indefinite = b"\x30\x80" + data[4 if data[1] == 0x82 else 3 if data[1] == 0x81 else 2 :] + b"\0\0"
    assert ber.to_der(indefinite) == data


# --- a real encoder ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def openssl(require_program: Callable[[str, str], Path]) -> Path:
    return require_program("openssl", "openssl")


def test_openssl_streams(openssl: Path, tmp_path: Path) -> None:
    key = make.rsa_key("device")
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "device.pem").write_bytes(load_der_x509_certificate(make.device()).public_bytes(Encoding.PEM))
    (tmp_path / "csr.der").write_bytes(make.device_csr())

    def cms(*arguments: str) -> bytes:
        command = [str(openssl), "cms", "-binary", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=20).stdout

    streamed = cms("-encrypt", "-stream", "-aes256", "-in", "csr.der", "-outform", "DER", "device.pem")
    (tmp_path / "enveloped.der").write_bytes(streamed)
    signed = cms(
        "-sign",
        "-stream",
        "-nodetach",
        "-in",
        "enveloped.der",
        "-signer",
        "device.pem",
        "-inkey",
        "key.pem",
        "-outform",
        "DER",
    )
    assert b"\x30\x80" in streamed[:2]
    assert b"\x30\x80" in signed[:2]
    inner, outer = ber.to_der(streamed), ber.to_der(signed)
    assert second.ContentInfo.load(inner, strict=True)["content"]["encrypted_content_info"]["encrypted_content"].native
    content = second.ContentInfo.load(outer, strict=True)["content"]
    assert content["encap_content_info"]["content"].native == streamed
    assert content["certificates"][0].dump() == make.device()
    (tmp_path / "outer.der").write_bytes(outer)
    assert (
        cms(
            "-verify",
            "-inform",
            "DER",
            "-in",
            "outer.der",
            "-CAfile",
            "device.pem",
            "-no_check_time",
            "-purpose",
            "any",
        )
        == streamed
    )
    (tmp_path / "inner.der").write_bytes(inner)
    assert (
        cms("-decrypt", "-inform", "DER", "-in", "inner.der", "-inkey", "key.pem", "-recip", "device.pem")
        == make.device_csr()
    )
