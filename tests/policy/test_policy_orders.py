"""From a request to an order: wishes dropped, wishes refused, names and times (N15, R76 to R78, T14)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.errors import Reason, Refusal
from scep_server.policy import make_order
from scep_server.types import IntegrationOptions
from tests.e2e.der import boolean, context, implicit, integer, octets, oid, printable, sequence, tlv, utf8
from tests.e2e.identities import dns_san, extension, name, rsa_key, spki
from tests.policy.requests import SUBJECT, request

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
CA_NAME = name(("CN", "CA"))
DEFAULTS = IntegrationOptions()


def order(*extensions: bytes, subject: bytes = SUBJECT, options: IntegrationOptions = DEFAULTS):
    return make_order(
        request(*extensions, subject=subject),
        options,
        NOW,
        forbidden_keys=frozenset({hashlib.sha256(spki(rsa_key(1))).digest()}),
        forbidden_subjects=frozenset({CA_NAME}),
    )


def test_an_ordinary_order():
    made = order(dns_san("a.example"))
    assert (made.subject, made.spki, made.dropped) == (SUBJECT, spki(rsa_key()), ())
    assert made.san == sequence(tlv(0x82, b"a.example"))
    assert order().san is None


def test_validity_is_backdated_and_as_long_as_the_option_says():
    made = order(options=IntegrationOptions(lifetime_days=30))
    assert made.not_before == datetime(2026, 3, 1, 11, 50, tzinfo=UTC)
    assert made.not_after - made.not_before == timedelta(days=30, minutes=10)
    assert order().not_after == datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


def test_an_empty_subject_needs_a_granted_name():
    assert order(dns_san("a.example"), subject=name()).subject == b"\x30\x00"
    for extensions in ((), (extension("2.5.29.17", sequence(implicit(7, bytes(4)))),)):
        with pytest.raises(Refusal) as refused:
            order(*extensions, subject=name())
        assert refused.value.reason is Reason.SUBJECT


def test_a_key_or_name_of_the_ca_is_refused():
    with pytest.raises(Refusal) as refused:
        order(subject=CA_NAME)
    assert refused.value.reason is Reason.SUBJECT
    with pytest.raises(Refusal) as refused:
        make_order(
            request(key=rsa_key(1)),
            IntegrationOptions(),
            NOW,
            forbidden_keys=frozenset({hashlib.sha256(spki(rsa_key(1))).digest()}),
            forbidden_subjects=frozenset(),
        )
    assert refused.value.reason is Reason.KEY


def key_usage(octet: int) -> bytes:
    return extension("2.5.29.15", tlv(0x03, bytes((0, octet))), critical=True)


def purposes(*dotted: str) -> bytes:
    return extension("2.5.29.37", sequence(*map(oid, dotted)))


@pytest.mark.parametrize(
    ("wish", "note"),
    [
        (extension("2.5.29.19", sequence(), critical=True), None),
        (extension("2.5.29.19", sequence(boolean(False))), None),
        (key_usage(0x80), None),
        (key_usage(0xA0), "keyUsage"),
        (purposes("1.3.6.1.5.5.7.3.2"), None),
        (purposes("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.3"), "extKeyUsage 1.3.6.1.5.5.7.3.3"),
        (purposes("2.5.29.37.0"), "extKeyUsage 2.5.29.37.0"),
        (extension("2.5.29.14", octets(bytes(20))), "subjectKeyIdentifier"),
        (extension("2.5.29.31", sequence()), "cRLDistributionPoints"),
        (extension("1.3.6.1.5.5.7.1.1", sequence()), "authorityInfoAccess"),
        (extension("2.5.29.32", sequence()), "certificatePolicies"),
        (extension("1.3.6.1.4.1.11129.2.4.2", octets(b"")), "SCT list"),
        (extension("1.3.6.1.4.1.311.25.2", sequence(context(0))), "Microsoft SID"),
        (extension("1.3.6.1.4.1.311.20.2", utf8("User")), "certificate template name"),
        (extension("1.2.3.4", integer(1)), "1.2.3.4"),
    ],
)
def test_wishes_that_are_dropped(wish, note):
    assert order(wish).dropped == (() if note is None else (note,))


@pytest.mark.parametrize(
    "wish",
    [
        extension("2.5.29.19", sequence(boolean(True))),
        extension("2.5.29.19", sequence(boolean(True), integer(0)), critical=True),
        extension("2.5.29.19", printable("x")),
        key_usage(0x04),
        key_usage(0x02),
        key_usage(0xFF),
        extension("2.5.29.15", integer(5)),
        purposes("1.3.6.1.5.5.7.3.9"),
        purposes("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.9"),
        extension("2.5.29.37", utf8("x")),
        extension("2.5.29.30", sequence(), critical=True),
        extension("2.5.29.36", sequence(), critical=True),
        extension("2.5.29.33", sequence()),
        extension("2.5.29.54", integer(0)),
        extension("1.3.6.1.4.1.11129.2.4.3", b"\x05\x00", critical=True),
        extension("1.2.3.4", integer(1), critical=True),
    ],
)
def test_wishes_that_are_refused(wish):
    with pytest.raises(Refusal) as refused:
        order(wish)
    assert refused.value.reason is Reason.EXTENSION


def test_a_name_that_is_not_granted_is_noted():
    made = order(extension("2.5.29.17", sequence(tlv(0x82, b"a.example"), implicit(7, bytes(4)))))
    assert (made.san, made.dropped) == (sequence(tlv(0x82, b"a.example")), ("san ip",))


def test_a_wildcard_is_refused():
    with pytest.raises(Refusal) as refused:
        order(dns_san("*.example"))
    assert refused.value.reason is Reason.SAN
