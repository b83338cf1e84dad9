"""The request in words: right where it is told at all, and null rather than cut, guessed or failed."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from challenge_plugins.webhook.described_csr import MAX_ITEMS, MAX_TEXT, described
from challenge_plugins.webhook.messages import MAX_USER_AGENT, question
from scep_server.codec.csr import parse_csr
from scep_server.codec.names import rfc4514
from scep_server.types import Attempt, CertificationRequest, Extension, MessageType, Source
from tests.e2e import der
from tests.e2e.identities import (
    SAN,
    certification_request,
    dns_san,
    ec_key,
    extension,
    extension_request,
    name,
    rdn,
    rsa_key,
)
from tests.plugins.webhook_schema import SCHEMAS, faults

LAPTOP = name(("CN", "laptop-1"), ("O", "Example, Inc."))
UPN = der.oid("1.3.6.1.4.1.311.20.2.3")
MICROSOFT_EXTENSIONS = "1.3.6.1.4.1.311.2.1.14"


def csr(subject: bytes = LAPTOP, *extensions: bytes, key: Any = None, **options: Any) -> CertificationRequest:
    return parse_csr(certification_request(key or ec_key(), subject, extensions=extensions, **options))


def told(request: CertificationRequest) -> dict[str, Any]:
    """Described, and as the document says."""
    fields = described(request, with_challenge=True)
    assert faults(SCHEMAS["Csr"], fields) == []
    return fields


def unchecked(subject: bytes, dns_names: Sequence[str]) -> CertificationRequest:
    """One that the house would have refused for its size."""
    asked = [dns_san(*dns_names)] if dns_names else []
    extensions = (Extension(SAN, False, der.sequence(*(der.tlv(0x82, one.encode()) for one in dns_names))),)
    whole = certification_request(ec_key(), subject, extensions=asked)
    return _changed(csr(), der=whole, subject=subject, extensions=extensions if dns_names else ())


def upn(text: str) -> bytes:
    return der.tlv(0xA0, UPN, der.context(0, der.utf8(text)))


def test_a_usual_request() -> None:
    request = csr(LAPTOP, dns_san("laptop-1.example", "vpn.example"), extension("2.5.29.15", der.tlv(3, b"\x05\xa0")))
    fields = told(request)
    assert base64.b64decode(fields["der"]) == request.der
    assert fields["subject"] == rfc4514(request.subject) == "O=Example\\, Inc.,CN=laptop-1"
    assert fields["common_name"] == "laptop-1"
    assert fields["sans"] == [{"type": "dns", "value": "laptop-1.example"}, {"type": "dns", "value": "vpn.example"}]
    assert fields["key"] == {"type": "EC", "size": 256, "sha256": request.key_hash.hex()}
    assert fields["signature_algorithm"] == "1.2.840.10045.4.3.2"
    assert fields["requested_extensions"] == [SAN, "2.5.29.15"]


def test_a_challenge_that_is_not_to_be_sent_is_not_in_the_request_either() -> None:
    silent, telling = csr(), csr(challenge="device-secret")
    assert told(telling)["der"] is not None
    assert described(silent, with_challenge=False)["der"] is not None
    withheld = described(telling, with_challenge=False)
    assert withheld["der"] is None
    assert faults(SCHEMAS["Csr"], withheld) == []
    assert (withheld["common_name"], withheld["sans"]) == ("laptop-1", [])


def test_an_rsa_key_is_told_by_its_modulus() -> None:
    assert told(csr(key=rsa_key()))["key"]["type"] == "RSA"
    assert told(csr(key=rsa_key()))["key"]["size"] == 2048


def test_every_kind_of_alternative_name() -> None:
    names = der.sequence(
        der.tlv(0x81, b"a@b.example"),
        der.tlv(0x86, b"deviceid://1"),
        der.tlv(0x87, bytes((192, 0, 2, 1))),
        upn("anna@corp.example"),
        der.tlv(0xA4, name(("CN", "dir"))),
        der.tlv(0x88, der.oid("1.2.3.4")[2:]),
        der.tlv(0xA0, der.oid("1.2.3"), der.context(0, der.integer(7))),
    )
    assert [(one["type"], one["value"]) for one in told(csr(LAPTOP, extension(SAN, names)))["sans"]] == [
        ("email", "a@b.example"),
        ("uri", "deviceid://1"),
        ("ip", "192.0.2.1"),
        ("upn", "anna@corp.example"),
        ("dirname", "CN=dir"),
        ("rid", "1.2.3.4"),
        ("other", "1.2.3;AgEH"),
    ]


def test_no_alternative_names_and_unreadable_ones_are_two_things() -> None:
    assert told(csr())["sans"] == []
    odd = csr(LAPTOP, extension(SAN, der.sequence(der.tlv(0xA0, UPN, der.context(0, der.integer(7))))))
    assert told(odd)["sans"] == [{"type": "other", "value": "1.3.6.1.4.1.311.20.2.3;AgEH"}]
    unread = csr(LAPTOP, extension(SAN, der.sequence(der.tlv(0xA3, der.sequence()))))
    assert told(unread)["sans"] is None


def test_microsofts_extension_request_is_read_too() -> None:
    asked = der.attribute(MICROSOFT_EXTENSIONS, der.sequence(dns_san("pc.example")))
    assert told(csr(more_attributes=[asked]))["sans"] == [{"type": "dns", "value": "pc.example"}]


@pytest.mark.parametrize(
    ("subject", "common_name"),
    [
        (der.sequence(), None),
        (name(("O", "only")), None),
        (name(("CN", "one"), ("CN", "two")), None),
        (der.sequence(rdn(("CN", der.utf8("one")), ("OU", der.utf8("two")))), "one"),
        (der.sequence(rdn(("CN", der.tlv(0x1E, "büro".encode("utf-16-be"))))), "büro"),
        (der.sequence(rdn(("CN", der.tlv(0x14, b"t61")))), "t61"),
    ],
)
def test_common_names(subject: bytes, common_name: str | None) -> None:
    assert told(csr(subject))["common_name"] == common_name


def test_nothing_is_cut() -> None:
    """A receiver that saw the first 128 names would allow the 129th."""

    def alternative(*names: str) -> list[dict[str, str]] | None:
        return told(unchecked(LAPTOP, names))["sans"]

    few, many = ([f"h{number}.example" for number in range(count)] for count in (MAX_ITEMS, MAX_ITEMS + 1))
    assert len(alternative(*few) or ()) == MAX_ITEMS
    assert alternative(*many) is None
    assert alternative("a" * MAX_TEXT) is not None
    assert alternative("a" * (MAX_TEXT + 1)) is None
    long = told(unchecked(name(*(("OU", "x" * 200) for _ in range(25)), ("CN", "short")), ()))
    assert (long["subject"], long["common_name"]) == (None, "short")


def test_names_are_told_only_as_the_house_read_them() -> None:
    """Another reading of the same bytes, whosever fault, is never what a receiver judges."""
    request = csr(LAPTOP, dns_san("a.example"))
    other_san = Extension(SAN, False, der.sequence(der.tlv(0x82, b"b.example")))
    fields = told(_changed(request, subject=name(("CN", "other")), extensions=(other_san,)))
    assert (fields["subject"], fields["common_name"], fields["sans"]) == (None, None, None)


@pytest.mark.parametrize("wrong", [b"", b"\x30\x00", b"no CSR at all", b"\x30\x80\x00\x00"])
def test_a_request_that_the_library_refuses_is_described_by_what_the_house_read(wrong: bytes) -> None:
    request = csr(LAPTOP, dns_san("a.example"))
    fields = told(_changed(request, der=wrong))
    assert (fields["subject"], fields["common_name"], fields["sans"]) == (None, None, None)
    assert fields["key"]["sha256"] == request.key_hash.hex()
    assert fields["requested_extensions"] == [SAN]


def test_what_a_device_writes_travels_escaped_and_bounded() -> None:
    """N21: line breaks, escapes and half surrogates."""
    request = _changed(csr(name(("CN", "a\r\nb\x1b[31m"))), challenge="c\ud800\n")
    source = Source("192.0.2.1", "\u202e${jndi:x}%s\r\n" + "x" * 5000)
    attempt = Attempt("corp", "tid\r\nX", MessageType.PKCS_REQ, request, source, datetime.now(UTC))
    message = question(attempt, datetime.now(UTC), send_challenge=True)
    assert all(0x20 <= octet < 0x7F for octet in message.body)
    assert len(message.body) < 8192
    assert b"x" * MAX_USER_AGENT not in message.body


@pytest.mark.parametrize(("kind", "word"), [(MessageType.PKCS_REQ, "PKCSReq"), (MessageType.RENEWAL_REQ, "RenewalReq")])
def test_a_renewal_says_that_it_is_one(kind: MessageType, word: str) -> None:
    now = datetime.now(UTC)
    attempt = Attempt("corp", "tid", kind, csr(), Source("192.0.2.1"), now)
    told = json.loads(question(attempt, now, send_challenge=True).body)
    assert told["message_type"] == word
    assert faults(SCHEMAS["Question"], told) == []


def test_other_curves_keep_their_size() -> None:
    assert told(csr(key=ec.generate_private_key(ec.SECP384R1())))["key"]["size"] == 384


def test_an_extension_that_cannot_be_read_hides_the_names_and_nothing_else() -> None:
    broken = extension("2.5.29.15", b"\xff")
    fields = told(
        parse_csr(
            certification_request(ec_key(), LAPTOP, more_attributes=[extension_request(broken, dns_san("a.example"))])
        )
    )
    assert (fields["common_name"], fields["sans"]) == ("laptop-1", None)
    assert fields["requested_extensions"] == ["2.5.29.15", SAN]


def _changed(request: CertificationRequest, **changes: Any) -> CertificationRequest:
    fields = {slot: getattr(request, slot) for slot in CertificationRequest.__dataclass_fields__}
    return CertificationRequest(**{**fields, **changes})
