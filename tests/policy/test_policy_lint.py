"""Each lint has a failing sample: a good tbsCertificate with exactly one thing wrong (R76 to R78)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from scep_server.errors import Reason, Refusal
from scep_server.policy.lint import LintIssuer, lint_names, lint_tbs, lints
from scep_server.types import IssueOrder
from tests.e2e.der import (
    algorithm,
    boolean,
    context,
    implicit,
    integer,
    octets,
    oid,
    sequence,
    set_of,
    tlv,
)
from tests.e2e.identities import ec_key, extension, name, rsa_key, spki

CA_NAME = name(("O", "Example"), ("CN", "CA"))
SUBJECT = name(("CN", "device"))
CA_KEY = bytes(range(20))
ISSUER = LintIssuer(CA_NAME, CA_KEY, datetime(2026, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC))
SAN = sequence(tlv(0x82, b"a.example"))
ORDER = IssueOrder(SUBJECT, spki(rsa_key()), SAN, datetime(2026, 3, 1, tzinfo=UTC), datetime(2055, 1, 1, tzinfo=UTC))


def utc(text: str) -> bytes:
    return tlv(0x17, text.encode())


def generalized(text: str) -> bytes:
    return tlv(0x18, text.encode())


def http(text: str) -> bytes:
    return implicit(6, text.encode())


GOOD_EXTENSIONS = {
    "constraints": extension("2.5.29.19", sequence(), critical=True),
    "usage": extension("2.5.29.15", tlv(0x03, b"\x07\x80"), critical=True),
    "purpose": extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.2"))),
    "san": extension("2.5.29.17", SAN),
    "ski": extension("2.5.29.14", octets(bytes(20))),
    "aki": extension("2.5.29.35", sequence(implicit(0, CA_KEY))),
    "cdp": extension("2.5.29.31", sequence(sequence(context(0, context(0, http("http://ca.example/0.crl")))))),
    "aia": extension("1.3.6.1.5.5.7.1.1", sequence(sequence(oid("1.3.6.1.5.5.7.48.2"), http("http://ca.example/x")))),
}


@dataclass(frozen=True)
class Tbs:
    """A tbsCertificate as its fields."""

    version: bytes = context(0, integer(2))
    serial: bytes = integer(1 << 126)
    signature: bytes = algorithm("1.2.840.113549.1.1.11")
    issuer: bytes = CA_NAME
    not_before: bytes = utc("260301000000Z")
    not_after: bytes = utc("270301000000Z")
    subject: bytes = SUBJECT
    key: bytes = spki(rsa_key())
    before_extensions: bytes = b""
    extensions: dict[str, bytes] = field(default_factory=lambda: dict(GOOD_EXTENSIONS))

    def der(self) -> bytes:
        return sequence(
            self.version,
            self.serial,
            self.signature,
            self.issuer,
            sequence(self.not_before, self.not_after),
            self.subject,
            self.key,
            self.before_extensions,
            context(3, sequence(*self.extensions.values())) if self.extensions else b"",
        )


def bent(**extensions: bytes | None) -> Tbs:
    """The good one with extensions replaced, added, or (None) left out."""
    chosen = {**GOOD_EXTENSIONS, **extensions}
    return Tbs(extensions={label: value for label, value in chosen.items() if value is not None})


def test_a_good_certificate_has_no_finding():
    lint_tbs(Tbs().der(), ORDER, ISSUER)


@pytest.mark.parametrize(
    ("tbs", "order"),
    [
        (bent(constraints=None), ORDER),
        (bent(san=None), replace(ORDER, san=None)),
        (Tbs(not_after=generalized("20540301000000Z")), ORDER),
        (Tbs(key=spki(ec_key()), signature=algorithm("1.2.840.10045.4.3.2", b"")), replace(ORDER, spki=spki(ec_key()))),
        (
            replace(bent(san=extension("2.5.29.17", SAN, critical=True)), subject=sequence()),
            replace(ORDER, subject=sequence()),
        ),
    ],
    ids=["no basicConstraints", "no SAN", "GeneralizedTime from 2050", "EC", "SAN only"],
)
def test_other_good_certificates(tbs, order):
    assert lints(tbs.der(), order, ISSUER) == []


FAILING = {
    "unreadable": [b"", b"\x30\x00", Tbs().der() + b"\0", Tbs(serial=b"\x02\x00").der()],
    "as_ordered": [
        Tbs(subject=name(("CN", "other"))),
        Tbs(key=spki(rsa_key(1))),
        bent(san=extension("2.5.29.17", sequence(tlv(0x82, b"b.example")))),
        bent(san=None),
        Tbs(not_after=generalized("20560101000000Z")),
    ],
    "version": [Tbs(version=b""), Tbs(version=context(0, integer(1)))],
    "serial": [Tbs(serial=integer(n)) for n in (0, -5, 5, 1 << 159, 1 << 160)],
    "signature_algorithm": [
        Tbs(signature=algorithm("1.2.840.113549.1.1.5")),
        Tbs(signature=algorithm("1.2.840.113549.1.1.4")),
    ],
    "issuer": [Tbs(issuer=name(("O", "Example"), ("CN", "ca")))],
    "validity_order": [Tbs(not_after=utc("260301000000Z")), Tbs(not_after=utc("260201000000Z"))],
    "validity_inside_issuer": [Tbs(not_before=utc("251231235959Z")), Tbs(not_after=generalized("20600101000001Z"))],
    "time_form": [Tbs(not_after=generalized("20270301000000Z")), Tbs(not_before=generalized("20260301000000Z"))],
    "whole_seconds": [Tbs(not_after=generalized("20540301000000.5Z"))],
    "subject": [Tbs(subject=CA_NAME), replace(bent(san=None), subject=sequence()), Tbs(subject=sequence(set_of()))],
    "unique_ids": [Tbs(before_extensions=tlv(0x81, b"\0\1")), Tbs(before_extensions=tlv(0x82, b"\0\1"))],
    "duplicate_extension": [bent(again=GOOD_EXTENSIONS["usage"])],
    "unknown_extension": [
        bent(sid=extension("1.3.6.1.4.1.311.25.2", sequence())),
        bent(x=extension("2.5.29.30", sequence())),
    ],
    "criticality": [
        bent(usage=extension("2.5.29.15", tlv(0x03, b"\x07\x80"))),
        bent(constraints=extension("2.5.29.19", sequence())),
        bent(purpose=extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.2")), critical=True)),
        bent(ski=sequence(oid("2.5.29.14"), boolean(False), octets(octets(bytes(20))))),
    ],
    "key_usage": [
        bent(usage=None),
        bent(usage=extension("2.5.29.15", tlv(0x03, b"\x05\xa0"), critical=True)),
        bent(usage=extension("2.5.29.15", tlv(0x03, b"\x02\x84"), critical=True)),
        bent(usage=extension("2.5.29.15", octets(b"\x80"), critical=True)),
    ],
    "extended_key_usage": [
        bent(purpose=None),
        bent(purpose=extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.2"), oid("2.5.29.37.0")))),
        bent(purpose=extension("2.5.29.37", sequence())),
    ],
    "no_ca": [
        bent(constraints=extension("2.5.29.19", sequence(boolean(True)), critical=True)),
        bent(constraints=extension("2.5.29.19", sequence(boolean(False)), critical=True)),
        bent(constraints=extension("2.5.29.19", sequence(integer(0)), critical=True)),
    ],
    "subject_alt_name": [
        bent(san=extension("2.5.29.17", SAN, critical=True)),
        replace(bent(), subject=sequence()),
        bent(san=extension("2.5.29.17", sequence())),
    ],
    "subject_key_identifier": [bent(ski=None), bent(ski=extension("2.5.29.14", octets(b"")))],
    "authority_key_identifier": [
        bent(aki=None),
        bent(aki=extension("2.5.29.35", sequence(implicit(0, bytes(20))))),
        bent(aki=extension("2.5.29.35", sequence())),
    ],
    "crl_distribution_points": [bent(cdp=None), bent(cdp=extension("2.5.29.31", sequence()))],
    "authority_info_access": [bent(aia=None), bent(aia=extension("1.3.6.1.5.5.7.1.1", octets(b"http")))],
}


def test_every_lint_has_a_failing_sample():
    assert set(FAILING) == set(lint_names())


@pytest.mark.parametrize(
    ("lint", "sample"), [(lint, sample) for lint, samples in FAILING.items() for sample in samples]
)
def test_failing_samples(lint, sample):
    tbs = sample if isinstance(sample, bytes) else sample.der()
    assert lint in lints(tbs, ORDER, ISSUER)
    with pytest.raises(Refusal) as refused:
        lint_tbs(tbs, ORDER, ISSUER)
    assert refused.value.reason is Reason.REJECTED
    assert lint in refused.value.detail


def test_the_lint_is_cheap():
    """Target 80 microseconds on an idle machine; the bound leaves room for a slow and busy one."""
    tbs = Tbs().der()
    best = 1.0
    for _ in range(5):
        began = time.process_time()
        for _ in range(100):
            lint_tbs(tbs, ORDER, ISSUER)
        best = min(best, (time.process_time() - began) / 100)
    assert best < 400e-6
