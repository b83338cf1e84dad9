"""Who may renew what, and when (R57 to R62, N4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.errors import Reason, Refusal
from scep_server.policy import check_renewal
from scep_server.types import Entry, EntryState, IntegrationOptions, MessageType, SignerCertificate
from tests.e2e.der import implicit, sequence
from tests.e2e.identities import certificate, dns_san, ec_key, extension, name, rsa_key, spki
from tests.policy.requests import SUBJECT, request

NOW = datetime.now(UTC).replace(microsecond=0)
CA_NAME = name(("CN", "CA"))
ON = IntegrationOptions(renewal=True, renewal_window_days=90)
SAN = dns_san("a.example", "b.example")


def issued(*extensions: bytes, begins: int = -300, ends: int = 65) -> tuple[Entry, SignerCertificate]:
    """A certificate of ours, valid between these days from now, and its row."""
    der = certificate(rsa_key(), SUBJECT, issuer=CA_NAME, signer=rsa_key(1), serial=9, extensions=extensions)
    signer = SignerCertificate(
        der=der,
        subject=SUBJECT,
        issuer=CA_NAME,
        serial=9,
        not_before=NOW + timedelta(days=begins),
        not_after=NOW + timedelta(days=ends),
        spki=spki(rsa_key()),
        public_key=rsa_key().public_key(),
        self_issued=False,
    )
    entry = Entry(
        id=1,
        state=EntryState.ISSUED,
        integration="default",
        transaction_id="t",
        message_type=MessageType.PKCS_REQ,
        signer_key=b"",
        request_key=b"",
        request_hash=b"",
        subject="",
        requested_at=NOW,
        pickup_until=NOW,
        source="",
        serial=9,
        certificate=der,
    )
    return entry, signer


def refused(*arguments: object) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        check_renewal(*arguments)  # type: ignore[arg-type]
    assert refusal.value.reason is Reason.RENEWAL
    return refusal.value


def test_an_ordinary_renewal_with_a_new_or_the_old_key():
    entry, signer = issued(SAN)
    for key in (rsa_key(2), rsa_key(), ec_key()):
        check_renewal(entry, signer, request(SAN, key=key), ON, NOW)


def test_a_renewal_as_pkcsreq_has_its_own_switch():
    entry, signer = issued()
    check_renewal(entry, signer, request(), IntegrationOptions(renewal_via_pkcsreq=True), NOW)
    refused(entry, signer, request(), IntegrationOptions(), NOW)


@pytest.mark.parametrize("state", [state for state in EntryState if state is not EntryState.ISSUED])
def test_only_an_issued_certificate_is_renewed(state):
    entry, signer = issued()
    assert refused(replace(entry, state=state), signer, request(), ON, NOW).security


def test_a_revoked_certificate_is_not_renewed_whatever_its_state_says():
    entry, signer = issued()
    assert refused(replace(entry, revoked_at=NOW), signer, request(), ON, NOW).security


def test_the_signer_must_be_the_recorded_certificate():
    entry, signer = issued()
    copied = certificate(rsa_key(3), SUBJECT, issuer=CA_NAME, signer=rsa_key(3), serial=9)
    assert refused(entry, replace(signer, der=copied), request(), ON, NOW).security
    assert refused(replace(entry, certificate=None), signer, request(), ON, NOW).security
    assert refused(entry, replace(signer, self_issued=True), request(), ON, NOW).security


@pytest.mark.parametrize(
    ("begins", "ends", "options", "opens"),
    [
        (-300, 65, ON, True),
        (-275, 90, ON, True),
        (-274, 91, ON, False),
        (-1, 29, ON, True),
        (-300, 0, ON, True),
        (-300, -1, ON, False),
        (-300, -1, IntegrationOptions(renewal=True, renewal_grace_days=1), True),
        (-300, -2, IntegrationOptions(renewal=True, renewal_grace_days=1), False),
        (1, 30, ON, False),
        (-300, 65, IntegrationOptions(renewal=True, renewal_window_days=64), False),
        (-1, 364, IntegrationOptions(renewal=True), True),
    ],
)
def test_the_renewal_window(begins, ends, options, opens):
    entry, signer = issued(begins=begins, ends=ends)
    if opens:
        check_renewal(entry, signer, request(), options, NOW)
    else:
        refused(entry, signer, request(), options, NOW)


def test_the_subject_stays():
    entry, signer = issued()
    check_renewal(entry, signer, request(subject=name(("O", "EXAMPLE"), ("CN", "Device"))), ON, NOW)
    for other in (name(("O", "Example"), ("CN", "device2")), name(("CN", "device")), name()):
        refused(entry, signer, request(subject=other), ON, NOW)


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (None, True),
        (dns_san("a.example"), True),
        (dns_san("A.EXAMPLE", "b.example"), True),
        (dns_san("c.example"), False),
        (dns_san("a.example", "b.example", "c.example"), False),
        (extension("2.5.29.17", sequence(implicit(1, b"a@a.example"))), False),
        # Dropped, so that it widens nothing.
        (extension("2.5.29.17", sequence(implicit(7, bytes(4)))), True),
    ],
)
def test_alternative_names_never_grow(wanted, passes):
    entry, signer = issued(SAN)
    wishes = () if wanted is None else (wanted,)
    if passes:
        check_renewal(entry, signer, request(*wishes), ON, NOW)
    else:
        refused(entry, signer, request(*wishes), ON, NOW)


def test_a_certificate_without_names_gets_none():
    entry, signer = issued()
    refused(entry, signer, request(dns_san("a.example")), ON, NOW)
