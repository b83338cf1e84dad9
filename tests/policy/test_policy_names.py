"""Subjects and alternative names: what enters a certificate and what does not (N15, N16, R78)."""

from __future__ import annotations

import pytest

from scep_server.codec.names import UPN, build_general_names
from scep_server.errors import Reason, Refusal
from scep_server.policy.names import check_subject, claims_sid, judge_san
from scep_server.types import DEFAULT_SAN_TYPES, SAN_TYPES, IntegrationOptions
from tests.e2e.der import context, ia5, implicit, integer, oid, printable, sequence, tlv, utf8
from tests.e2e.identities import name, rdn

CA_NAME = name(("O", "Example"), ("CN", "Organization Intermediate Authority"))
SID_URI = "tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-1104"


def common_name(element: bytes) -> bytes:
    return sequence(rdn(("CN", element)))


def bmp(text: str) -> bytes:
    return tlv(0x1E, text.encode("utf-16-be"))


@pytest.mark.parametrize(
    "subject",
    [
        name(("CN", "device")),
        name(("C", "DE"), ("O", "Example GmbH & Co. KG"), ("OU", "IT/Ops"), ("CN", "Müller's Mac 1")),
        name(("CN", "名前")),
        name(("CN", "user@example.com")),
        common_name(printable("device-1 (lab)")),
        common_name(tlv(0x14, b"caf\xe9")),
        common_name(bmp("Gerät")),
        sequence(rdn(("1.2.840.113549.1.9.1", ia5("a@b.example")))),
        sequence(rdn(("0.9.2342.19200300.100.1.25", ia5("example"))), rdn(("CN", utf8("a")))),
        name(("CN", "John"), ("CN", "Users")),
        name(("OU", "a"), ("OU", "b"), ("CN", "a")),
        sequence(),
    ],
)
def test_subjects_that_pass(subject):
    check_subject(subject, forbidden_subjects=[CA_NAME])


@pytest.mark.parametrize(
    "subject",
    [
        name(("CN", "")),
        name(("CN", "  ")),
        name(("O", ""), ("CN", "device")),
        name(("CN", "device\0.example")),
        name(("CN", "a\r\nb")),
        name(("CN", "a\nb")),
        name(("CN", "a\x1b[31m")),
        name(("CN", "exe\u202egpj")),
        name(("CN", "a\u2066b")),
        name(("CN", "a\u200bb")),
        name(("CN", "a\u2028b")),
        name(("CN", "a\ue000b")),
        common_name(bmp("a\0")),
        common_name(integer(5)),
        common_name(ia5("device")),
        common_name(tlv(0x1A, b"device")),
        common_name(tlv(0x1C, "d".encode("utf-32-be"))),
        common_name(printable("a@b")),
        common_name(printable("a*")),
        name(("CN", "a/CN=admin")),
        name(("CN", "a, O = Example")),
        name(("CN", "a+cn=b")),
        name(("CN", "device"), ("CN", "device")),
        name(("CN", "device"), ("CN", "DEVICE ")),
        sequence(rdn(("CN", utf8("a")), ("O", utf8("b")))),
    ],
)
def test_subjects_that_are_refused(subject):
    with pytest.raises(Refusal) as refused:
        check_subject(subject, forbidden_subjects=[CA_NAME])
    assert refused.value.reason is Reason.SUBJECT


@pytest.mark.parametrize(
    "subject",
    [
        CA_NAME,
        name(("O", "EXAMPLE"), ("CN", "organization  intermediate authority")),
        name(("O", "Example"), ("CN", "Organization Intermediate Authorit\uff59")),
        sequence(rdn(("O", bmp("Example"))), rdn(("CN", bmp("Organization Intermediate Authority")))),
    ],
)
def test_the_name_of_a_ca_is_refused_however_it_is_written(subject):
    with pytest.raises(Refusal) as refused:
        check_subject(subject, forbidden_subjects=[name(("CN", "RA")), CA_NAME])
    assert refused.value.security


def dns(value: str) -> bytes:
    return implicit(2, value.encode("latin-1"))


def email(value: str) -> bytes:
    return implicit(1, value.encode("latin-1"))


def uri(value: str) -> bytes:
    return implicit(6, value.encode("latin-1"))


def upn(value: str) -> bytes:
    return context(0, oid(UPN), context(0, utf8(value)))


ALL = IntegrationOptions(san_types=SAN_TYPES)


@pytest.mark.parametrize(
    "general_name",
    [
        dns("device.example"),
        dns("device"),
        dns("a-b.c1.example"),
        dns("xn--mller-kva.example"),
        dns("x" * 63 + ".example"),
        email("a.b+c@mail.example"),
        uri("urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"),
        uri("IntuneDeviceId://6e8bc430-9c3a-11d9-9669-0800200c9a66"),
        uri("https://example.com/a?b=c#d"),
        implicit(7, bytes((192, 0, 2, 1))),
        upn("müller@example.com"),
        context(4, name(("CN", "d"))),
        implicit(8, bytes.fromhex("2a0304")),
        context(0, oid("1.2.3"), context(0, utf8("x"))),
    ],
)
def test_alternative_names_that_pass(general_name):
    granted, dropped = judge_san(sequence(general_name), ALL)
    assert build_general_names(granted) == sequence(general_name)
    assert dropped == ()


@pytest.mark.parametrize(
    "general_name",
    [
        dns("*.example"),
        dns("*"),
        dns("a.*.example"),
        dns("device.example."),
        dns(""),
        dns("."),
        dns("a..b"),
        dns("-a.example"),
        dns("a-.example"),
        dns("a b.example"),
        dns("a_b.example"),
        dns("a\0b.example"),
        dns("192.0.2.1"),
        dns("x" * 64 + ".example"),
        dns(".".join(["a" * 60] * 5)),
        dns("xn--a.example"),
        dns("xn--pple-43d.example"),
        email("nobody"),
        email("@example.com"),
        email("a@"),
        email("a@*.example"),
        email("a b@example.com"),
        email("a..b@example.com"),
        email("a\r\nb@example.com"),
        email("x" * 65 + "@example.com"),
        uri("no scheme"),
        uri("https://*.example/"),
        uri("https://[bad/"),
        uri("https://a/\x01"),
        uri("x:" + "a" * 1024),
        upn("nobody"),
        upn("a\0@b"),
        upn("a\u202e@b"),
        context(4, name(("CN", "a\0"))),
        context(4, name(("CN", "CA"))),
        context(0, oid(UPN), context(0, integer(1))),
        context(3),
    ],
)
def test_alternative_names_of_a_listed_type_that_are_refused(general_name):
    with pytest.raises(Refusal) as refused:
        judge_san(sequence(general_name), ALL, forbidden_subjects=[name(("CN", "CA"))])
    assert refused.value.reason is Reason.SAN


EVERY_KIND = {
    "dns": dns("a.example"),
    "email": email("a@b.example"),
    "uri": uri("urn:x"),
    "ip": implicit(7, bytes(4)),
    "upn": upn("a@b"),
    "dirname": context(4, name(("CN", "a"))),
    "rid": implicit(8, b"\x2a"),
    "other": context(0, oid("1.2.3"), context(0, utf8("x"))),
}


@pytest.mark.parametrize("kind", sorted(SAN_TYPES))
def test_a_type_passes_only_when_it_is_listed(kind):
    wanted = sequence(*EVERY_KIND.values())
    granted, dropped = judge_san(wanted, IntegrationOptions(san_types=frozenset({kind})))
    assert build_general_names(granted) == sequence(EVERY_KIND[kind])
    assert sorted(dropped) == sorted(f"san {other}" for other in EVERY_KIND if other != kind)


def test_the_default_types():
    granted, _ = judge_san(sequence(*EVERY_KIND.values()), IntegrationOptions())
    assert {general_name.kind for general_name in granted} == DEFAULT_SAN_TYPES


def test_the_same_name_twice_enters_once():
    granted, dropped = judge_san(sequence(dns("a.example"), dns("a.example")), ALL)
    assert (len(granted), dropped) == (1, ("san dns twice",))


def test_upn_is_encoded_anew_as_utf8():
    granted, _ = judge_san(sequence(context(0, oid(UPN), context(0, ia5("a@b")))), ALL)
    assert granted[0].der == upn("a@b")


SPELLINGS = [
    SID_URI,
    SID_URI.upper(),
    SID_URI.replace("sid", "%73id"),
    SID_URI.replace("sid", "%2573id"),
    f"https://x.example/{SID_URI}",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_uri_that_claims_a_sid_is_refused_unless_allowed(spelling):
    assert claims_sid(spelling)
    for options in (ALL, IntegrationOptions(san_types=frozenset({"dns"}))):
        with pytest.raises(Refusal) as refused:
            judge_san(sequence(uri(spelling)), options)
        assert refused.value.security
    granted, _ = judge_san(sequence(uri(spelling)), IntegrationOptions(allow_sid_uri=True))
    assert granted[0].value == spelling


def test_other_tags_of_that_authority_claim_nothing():
    assert not claims_sid("tag:microsoft.com,2022-09-14:other:S-1-5")
