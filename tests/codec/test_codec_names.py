"""Names: RFC 4514 text, comparison, GeneralNames (R78, N9, N16, N21)."""

from __future__ import annotations

import pytest
from cryptography import x509

from scep_server.codec import names
from scep_server.errors import Malformed
from tests.e2e.der import context, ia5, implicit, integer, octets, oid, sequence, set_of, tlv, utf8
from tests.e2e.identities import name, rdn


def bmp(text: str) -> bytes:
    return tlv(0x1E, text.encode("utf-16-be"))


@pytest.mark.parametrize(
    ("der", "text"),
    [
        (name(), ""),
        (name(("C", "DE"), ("O", "Example"), ("CN", "device 1")), "CN=device 1,O=Example,C=DE"),
        (name(("CN", ' #a,b+c"d\\e<f>g;h ')), 'CN=\\ #a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h\\ '),
        (name(("CN", "#x")), "CN=\\#x"),
        (name(("CN", " ")), "CN=\\ "),
        (name(("CN", "a\r\n\0\x1b[31m")), "CN=a\\0D\\0A\\00\\1B[31m"),
        (name(("CN", "a\u202eb")), "CN=a\\E2\\80\\AEb"),
        (name(("CN", "Lučić")), "CN=Lučić"),
        (sequence(rdn(("CN", bmp("é")))), "CN=é"),
        (sequence(rdn(("CN", tlv(0x14, b"\xe9")))), "CN=é"),
        (sequence(rdn(("CN", utf8("a")), ("O", utf8("b")))), "CN=a+O=b"),
        (sequence(rdn(("1.2.3.4", utf8("a")))), "1.2.3.4=#0c0161"),
        (sequence(rdn(("CN", integer(1)))), "CN=#020101"),
        (sequence(rdn(("1.2.840.113549.1.9.1", ia5("a@b")))), "emailAddress=a@b"),
    ],
)
def test_rfc4514(der, text):
    assert names.rfc4514(der) == text


def test_rfc4514_agrees_with_another_implementation():
    der = name(("C", "DE"), ("O", "Ex, Ltd."), ("OU", "a+b"), ("CN", "#d<>;"))
    parsed = x509.Name.from_rfc4514_string(names.rfc4514(der))
    assert [a.value for a in parsed] == ["DE", "Ex, Ltd.", "a+b", "#d<>;"]


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x31\x00",
        sequence(sequence()),
        sequence(set_of()),
        sequence(rdn(("CN", tlv(0x0C, b"\xc0\x80")))),
        sequence(rdn(("CN", tlv(0x0C, b"\xed\xa0\x80")))),
        sequence(rdn(("CN", tlv(0x1E, b"a")))),
        sequence(rdn(("CN", tlv(0x1E, b"\xd8\x00")))),
        sequence(rdn(("CN", tlv(0x13, b"\xe9")))),
        sequence(set_of(sequence(oid("2.5.4.3")))),
        name(("CN", "a")) + b"\0",
        sequence(*(rdn(("CN", utf8("x"))) for _ in range(51))),
        sequence(rdn(*(("CN", utf8(f"{n}")) for n in range(51)))),
        name(("CN", "x" * 257)),
    ],
)
def test_what_is_no_name_is_malformed(der):
    with pytest.raises(Malformed):
        names.rdns(der)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (name(("CN", "Device")), name(("CN", "dEVICE"))),
        (name(("CN", "a  b")), name(("CN", " a b "))),
        (sequence(rdn(("CN", bmp("Straße")))), name(("CN", "STRASSE"))),
        (name(("CN", "a\u200bb")), name(("CN", "ab"))),
        (name(("CN", "a\u00adb\ufe0f")), name(("CN", "ab"))),
        (name(("CN", "\uff21\uff22")), name(("CN", "ab"))),
        (name(("CN", "e\u0301")), name(("CN", "é"))),
        (sequence(rdn(("CN", utf8("a")), ("O", utf8("b")))), sequence(rdn(("O", utf8("B")), ("CN", utf8("A"))))),
    ],
)
def test_names_that_read_the_same_are_the_same(left, right):
    assert names.same_name(left, right)
    assert names.same_name(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (name(("CN", "a")), name(("CN", "b"))),
        (name(("CN", "a")), name(("O", "a"))),
        (name(("CN", "a"), ("O", "b")), name(("O", "b"), ("CN", "a"))),
        (name(("CN", "a")), name(("CN", "a"), ("CN", "a"))),
        (name(("CN", "e")), name(("CN", "é"))),
        (name(("CN", "ab")), name(("CN", "a b"))),
        (name(("CN", "a")), name()),
    ],
)
def test_names_that_differ_are_not(left, right):
    assert not names.same_name(left, right)


GENERAL_NAMES = [
    (implicit(1, b"a@b.example"), "email", "a@b.example"),
    (implicit(2, b"b.example"), "dns", "b.example"),
    (implicit(6, b"urn:x"), "uri", "urn:x"),
    (implicit(7, bytes((192, 0, 2, 1))), "ip", "192.0.2.1"),
    (implicit(7, bytes(15) + b"\x01"), "ip", "::1"),
    (implicit(8, bytes.fromhex("2a0304")), "rid", "1.2.3.4"),
    (context(4, name(("CN", "d"))), "dirname", "CN=d"),
    (context(0, oid(names.UPN), context(0, utf8("u@r"))), "upn", "u@r"),
    (context(0, oid(names.UPN), context(0, octets(b"u"))), "other", names.UPN),
    (context(0, oid("1.2.3"), context(0, integer(1))), "other", "1.2.3"),
    (context(3), "other", "[3]"),
    (context(5), "other", "[5]"),
]


@pytest.mark.parametrize(("der", "kind", "value"), GENERAL_NAMES)
def test_every_kind_of_general_name_is_read_and_written_back(der, kind, value):
    found = names.parse_general_names(sequence(der))
    assert [(n.kind, n.value, n.der) for n in found] == [(kind, value, der)]
    assert names.build_general_names(found) == sequence(der)
    if kind in {"dns", "email", "uri", "ip", "upn"}:
        assert names.general_name(kind, value).der == der


def test_general_names_agree_with_another_implementation():
    san = x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.RFC822Name("a@b")]).public_bytes()
    assert [(n.kind, n.value) for n in names.parse_general_names(san)] == [("dns", "a.example"), ("email", "a@b")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        implicit(2, b"\xff"),
        implicit(7, bytes(5)),
        implicit(9, b"x"),
        implicit(8, b""),
        implicit(2, b"a") * 101,
        context(0, oid("1.2.3")),
        context(4, b"\x31\x00"),
        utf8("a"),
    ],
)
def test_other_general_names_are_malformed(content):
    with pytest.raises(Malformed):
        names.parse_general_names(sequence(content))


def test_no_plain_form_of_a_directory_name():
    with pytest.raises(ValueError):
        names.general_name("dirname", "CN=x")
