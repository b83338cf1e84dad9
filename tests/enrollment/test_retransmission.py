"""R74, T11: which repeats get the stored answer, which are refused, and when a transaction id is free again."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scep_server.enrollment.retransmission import resumes
from scep_server.errors import Reason, Refusal
from scep_server.types import (
    CertificationRequest,
    Digest,
    Entry,
    EntryState,
    MessageType,
    ReplyTo,
    SealedRequest,
    SignerCertificate,
)

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def signer() -> SignerCertificate:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SignerCertificate(b"", b"", b"", 1, NOW, NOW, spki, key, True)


ALICE, MALLORY = signer(), signer()


def sealed(who: SignerCertificate, kind: MessageType = MessageType.PKCS_REQ) -> SealedRequest:
    return SealedRequest(ReplyTo("tid", b"n" * 16, Digest.SHA256), kind, who, None, None)


def request(info: bytes = b"info") -> CertificationRequest:
    return CertificationRequest(b"", info, b"", ALICE.spki, ALICE.public_key, None, (), "")


def entry(state: EntryState, **changes: object) -> Entry:
    known = Entry(
        id=7,
        state=state,
        integration="corp",
        transaction_id="tid",
        message_type=MessageType.PKCS_REQ,
        signer_key=ALICE.key_hash,
        request_key=ALICE.key_hash,
        request_hash=request().info_hash,
        subject="CN=alice",
        requested_at=NOW - timedelta(minutes=5),
        pickup_until=NOW + timedelta(minutes=55),
        source="192.0.2.1",
    )
    return dataclasses.replace(known, **changes)


@pytest.mark.parametrize("state", [EntryState.PENDING, EntryState.INTENDED, EntryState.SIGNED, EntryState.ISSUED])
def test_the_same_request_gets_the_stored_answer(state: EntryState) -> None:
    assert resumes(entry(state), sealed(ALICE), request(), NOW)


def test_after_the_window_the_same_request_is_new() -> None:
    assert not resumes(entry(EntryState.ISSUED), sealed(ALICE), request(), NOW + timedelta(hours=2))


@pytest.mark.parametrize("state", [EntryState.PENDING, EntryState.INTENDED, EntryState.ISSUED])
def test_another_key_is_refused_inside_the_window_and_free_after_it(state: EntryState) -> None:
    with pytest.raises(Refusal) as refused:
        resumes(entry(state), sealed(MALLORY), request(), NOW)
    assert refused.value.reason is Reason.TRANSACTION
    assert refused.value.security
    assert not resumes(entry(state), sealed(MALLORY), request(), NOW + timedelta(hours=2))


def test_another_request_of_the_same_key_is_new_unless_one_is_pending() -> None:
    assert not resumes(entry(EntryState.ISSUED), sealed(ALICE), request(b"other"), NOW)
    with pytest.raises(Refusal):
        resumes(entry(EntryState.PENDING), sealed(ALICE), request(b"other"), NOW)


@pytest.mark.parametrize("state", [EntryState.PENDING, EntryState.ISSUED])
def test_a_renewal_is_judged_by_its_own_rules(state: EntryState) -> None:
    assert not resumes(entry(state), sealed(ALICE, MessageType.RENEWAL_REQ), request(b"new"), NOW)


def test_a_device_may_renew_under_the_id_of_its_renewal_before() -> None:
    certified_mallory = entry(EntryState.ISSUED, request_key=MALLORY.key_hash)
    assert not resumes(certified_mallory, sealed(MALLORY, MessageType.RENEWAL_REQ), request(b"new"), NOW)


@pytest.mark.parametrize("state", [EntryState.PENDING, EntryState.INTENDED, EntryState.ISSUED])
def test_a_renewal_does_not_end_the_transaction_of_another_device(state: EntryState) -> None:
    with pytest.raises(Refusal) as refused:
        resumes(entry(state), sealed(MALLORY, MessageType.RENEWAL_REQ), request(b"new"), NOW)
    assert refused.value.reason is Reason.TRANSACTION
    assert refused.value.security


def test_decided_entries_are_told_as_they_were_decided() -> None:
    with pytest.raises(Refusal) as rejected:
        resumes(entry(EntryState.FAILED, note="rejected: not ours"), sealed(ALICE), request(), NOW)
    assert rejected.value.reason is Reason.REJECTED
    assert not resumes(entry(EntryState.FAILED, note="abandoned"), sealed(ALICE), request(), NOW)
    with pytest.raises(Refusal):
        resumes(entry(EntryState.REVOKED), sealed(ALICE), request(), NOW)
