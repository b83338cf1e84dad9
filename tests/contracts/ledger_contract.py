"""What every ledger must do: the suite that accepts a database. Run by tests/ledger on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509 import ReasonFlags

from scep_server.errors import ConfigurationError, Fault, Reason, Refusal, SerialCollision
from scep_server.ledger import Ledger
from scep_server.types import (
    Certificate,
    Crl,
    Entry,
    EntryState,
    Event,
    Integration,
    IntegrationOptions,
    MessageType,
    Opening,
    Prepared,
)

OpenLedger = Callable[[], Ledger]
AUDIT_KEY = bytes(range(32))
NOW = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)
ISSUER = "00112233445566ff"


def sequence(content: bytes) -> bytes:
    """DER SEQUENCE."""
    length = len(content)
    return b"\x30" + (bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2, "big")) + content


def prepared(serial: int | None = None) -> Prepared:
    """A tbsCertificate stand-in: the ledger reads nothing inside it."""
    number = secrets.randbits(127) if serial is None else serial
    return Prepared(sequence(os.urandom(300)), ISSUER, number, 0, b"0\0", NOW, NOW + timedelta(days=365))


def certificate(of: Prepared) -> Certificate:
    """A certificate around the tbs."""
    der = sequence(of.tbs + sequence(b"alg") + b"\x03\x03\0ab")
    return Certificate(der, of.issuer_id, of.serial, of.subject, of.not_before, of.not_after)


def opening(transaction_id: str | None = None, **changes: object) -> Opening:
    """A first request; changes replace fields."""
    usual = Opening(
        integration="jamf",
        transaction_id=transaction_id or secrets.token_hex(16),
        message_type=MessageType.PKCS_REQ,
        signer_key=b"s" * 32,
        request_key=b"k" * 32,
        request_hash=b"h" * 32,
        request=b"csr",
        subject="CN=device",
        source="192.0.2.1",
        received_at=NOW,
        pickup_until=NOW + timedelta(hours=1),
        consumes=(),
        reference="1",
        renews=None,
        prepared=prepared(),
    )
    return dataclasses.replace(usual, **changes)


def told(kind: str, **detail: object) -> list[Event]:
    """One event."""
    return [Event(kind, NOW, "jamf", detail=detail)]


async def issue(ledger: Ledger, **changes: object) -> Entry:
    """Both commits."""
    order = opening(**changes)
    opened = await ledger.open(order, told("certificate.intended"))
    assert opened.intent is not None
    assert order.prepared is not None
    return await ledger.sign(opened.entry.id, certificate(order.prepared), True, told("certificate.issued"))


def kinds(ledger: Ledger) -> list[str]:
    """Kinds of all recorded events."""
    return [row.body.split('"kind":"')[1].split('"')[0] for row in ledger.events()]


class TwoCommits:
    """Open and sign (design: the road of one request; K1, K2)."""

    async def test_intent_is_on_record_before_it_can_be_signed(self, ledger: Ledger) -> None:
        order = opening()
        opened = await ledger.open(order, told("certificate.intended"))
        stored = ledger.entry(opened.entry.id)
        assert stored is not None
        assert order.prepared is not None
        assert (stored.state, stored.tbs) == (EntryState.INTENDED, order.prepared.tbs)
        assert opened.intent is not None
        assert opened.intent.take() == order.prepared.tbs
        assert (stored.request, opened.entry.request) == (b"csr", None)
        assert dataclasses.replace(stored, request=None) == opened.entry

    async def test_request_is_kept_until_the_certificate_is_released(self, ledger: Ledger) -> None:
        order = opening()
        opened = await ledger.open(order, ())
        assert order.prepared is not None
        await ledger.sign(opened.entry.id, certificate(order.prepared), False, ())
        signed = ledger.entry(opened.entry.id)
        assert signed is not None
        assert (signed.state, signed.request) == (EntryState.SIGNED, b"csr")
        await ledger.release(opened.entry.id, ())
        released = ledger.entry(opened.entry.id)
        assert released is not None
        assert (released.state, released.request) == (EntryState.ISSUED, None)

    async def test_signed_certificate_holds_the_recorded_tbs(self, ledger: Ledger) -> None:
        entry = await issue(ledger)
        stored = ledger.find("jamf", entry.transaction_id)
        assert stored == entry
        assert entry.state is EntryState.ISSUED
        assert entry.certificate is not None
        assert entry.tbs in entry.certificate
        assert kinds(ledger) == ["certificate.intended", "certificate.issued"]

    async def test_another_process_signs_what_the_first_opened(self, open_it: OpenLedger) -> None:
        first, second = open_it(), open_it()
        order = opening()
        assert order.prepared is not None
        opened = await first.open(order, ())
        signed = certificate(order.prepared)
        entry = await second.sign(opened.entry.id, signed, True, told("certificate.issued"))
        assert (entry.state, entry.certificate) == (EntryState.ISSUED, signed.der)
        assert await first.sign(opened.entry.id, signed, True, told("certificate.issued")) == entry
        assert kinds(first) == ["certificate.issued"]

    async def test_another_tbs_is_not_stored(self, ledger: Ledger) -> None:
        order = opening()
        opened = await ledger.open(order, ())
        with pytest.raises(Fault):
            await ledger.sign(opened.entry.id, certificate(prepared()), True, told("certificate.issued"))
        stored = ledger.entry(opened.entry.id)
        assert stored is not None
        assert stored.state is EntryState.INTENDED
        assert kinds(ledger) == []

    async def test_second_signature_gets_the_first_certificate(self, ledger: Ledger) -> None:
        order = opening()
        assert order.prepared is not None
        opened = await ledger.open(order, ())
        first = await ledger.sign(opened.entry.id, certificate(order.prepared), True, told("certificate.issued"))
        other = dataclasses.replace(certificate(order.prepared), der=sequence(order.prepared.tbs + b"\x05\0"))
        second = await ledger.sign(opened.entry.id, other, True, told("certificate.issued"))
        assert second == first
        assert kinds(ledger) == ["certificate.issued"]

    async def test_release_follows_a_signature_held_back(self, ledger: Ledger) -> None:
        order = opening()
        assert order.prepared is not None
        opened = await ledger.open(order, ())
        signed = await ledger.sign(opened.entry.id, certificate(order.prepared), False, ())
        assert signed.state is EntryState.SIGNED
        assert (await ledger.release(signed.id, told("certificate.released"))).state is EntryState.ISSUED
        assert (await ledger.release(signed.id, told("certificate.released"))).state is EntryState.ISSUED
        assert kinds(ledger) == ["certificate.released"]

    async def test_serial_collision_is_told_and_nothing_written(self, ledger: Ledger) -> None:
        first = await issue(ledger)
        with pytest.raises(SerialCollision):
            await ledger.open(opening(prepared=prepared(first.serial)), told("certificate.intended"))
        assert len(list(ledger.entries())) == 1
        assert len(kinds(ledger)) == 2

    async def test_resume_gives_the_recorded_intent_until_it_is_signed(self, ledger: Ledger) -> None:
        order = opening()
        assert order.prepared is not None
        opened = await ledger.open(order, ())
        again = await ledger.resume(opened.entry.id)
        assert again is not None
        assert again.take() == order.prepared.tbs
        await ledger.sign(opened.entry.id, certificate(order.prepared), True, ())
        assert await ledger.resume(opened.entry.id) is None

    async def test_failed_entry_takes_no_certificate(self, ledger: Ledger) -> None:
        order = opening()
        assert order.prepared is not None
        opened = await ledger.open(order, ())
        await ledger.fail(opened.entry.id, "signer gave up", told("certificate.failed"))
        with pytest.raises(Fault):
            await ledger.sign(opened.entry.id, certificate(order.prepared), True, ())
        assert ledger.unfinished() == []


class Retransmission:
    """R74: one transaction, one live entry."""

    async def test_same_request_finds_its_entry(self, ledger: Ledger) -> None:
        entry = await issue(ledger, transaction_id="t1")
        opened = await ledger.open(opening("t1"), told("certificate.intended"))
        assert (opened.existing, opened.intent, opened.entry) == (True, None, entry)
        assert len(kinds(ledger)) == 2

    async def test_another_key_finds_the_first_transaction_untouched(self, ledger: Ledger) -> None:
        entry = await issue(ledger, transaction_id="t1")
        opened = await ledger.open(opening("t1", signer_key=b"o" * 32, request_hash=b"o" * 32), ())
        assert opened.existing
        assert opened.entry == entry

    async def test_id_is_free_again_after_the_pickup_window(self, ledger: Ledger) -> None:
        old = await issue(ledger, transaction_id="t1")
        later = NOW + timedelta(hours=2)
        opened = await ledger.open(opening("t1", received_at=later, signer_key=b"o" * 32, request_hash=b"o" * 32), ())
        assert not opened.existing
        newest = ledger.find("jamf", "t1")
        assert newest is not None
        assert newest.id == opened.entry.id != old.id

    async def test_a_live_entry_ends_only_for_whoever_judged_it(self, ledger: Ledger) -> None:
        old = await issue(ledger, transaction_id="t1")
        new = opening("t1", request_hash=b"2" * 32)
        unjudged = await ledger.open(new, ())
        assert (unjudged.existing, unjudged.entry.id) == (True, old.id)
        opened = await ledger.open(dataclasses.replace(new, replaces=old.id), ())
        assert opened.intent is not None
        late = dataclasses.replace(new, replaces=old.id, request_hash=b"3" * 32, prepared=prepared())
        raced = await ledger.open(late, ())
        assert (raced.existing, raced.entry.id) == (True, opened.entry.id)

    async def test_a_pending_entry_stands(self, ledger: Ledger) -> None:
        pending = await ledger.open(opening("t1", prepared=None), ())
        opened = await ledger.open(opening("t1", request_hash=b"2" * 32), ())
        assert opened.existing
        assert opened.entry.id == pending.entry.id

    async def test_an_unfinished_entry_stands_no_longer_than_its_window(self, ledger: Ledger) -> None:
        abandoned = await ledger.open(opening("t1"), ())
        later = NOW + timedelta(hours=2)
        opened = await ledger.open(opening("t1", received_at=later, prepared=prepared()), ())
        assert not opened.existing
        assert opened.entry.id != abandoned.entry.id

    async def test_integrations_share_no_transactions(self, ledger: Ledger) -> None:
        await issue(ledger, transaction_id="t1")
        assert not (await ledger.open(opening("t1", integration="intune"), ())).existing

    async def test_hostile_transaction_ids_are_kept_apart(self, ledger: Ledger) -> None:
        hostile = ["a\0b", "a\0c", "\udcff", "x" * 5000, "x" * 5001, "${jndi:x}", "a\r\nb"]
        for name in hostile:
            opened = await ledger.open(opening(name, subject=f"CN={name}", source=name), told("x", name=name))
            assert not opened.existing
        found = [ledger.find("jamf", name) for name in hostile]
        assert len({entry.id for entry in found if entry is not None}) == len(hostile)


class Races:
    """What must be decided once, however many ask (N17, R75)."""

    async def test_one_challenge_makes_one_entry(self, ledger: Ledger) -> None:
        keys = [number.to_bytes(32, "big") for number in range(200)]
        orders = [opening(signer_key=key, request_hash=key, consumes=(b"one-time",)) for key in keys]
        work = (ledger.open(order, told("certificate.intended")) for order in orders)
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert len(refusals) == 199
        assert {(refusal.reason, refusal.security) for refusal in refusals} == {(Reason.CHALLENGE_SPENT, True)}
        assert len(list(ledger.entries())) == len(kinds(ledger)) == 1

    async def test_fifty_approvals_make_one_certificate(self, open_it: OpenLedger) -> None:
        ledgers = [open_it(), open_it()]
        pending = await ledgers[0].open(opening(prepared=None), ())
        work = (ledgers[n % 2].approve(pending.entry.id, prepared(), told("request.approved")) for n in range(50))
        intents = [intent for intent in await asyncio.gather(*work) if intent is not None]
        assert len(intents) == 1
        assert kinds(ledgers[0]) == ["request.approved"]
        stored = ledgers[1].entry(pending.entry.id)
        assert stored is not None
        assert (stored.serial, stored.request) == (intents[0].serial, b"csr")

    async def test_approval_and_rejection_exclude_each_other(self, open_it: OpenLedger) -> None:
        first, second = open_it(), open_it()
        for _ in range(10):
            pending = await first.open(opening(prepared=None), ())
            intent, rejected = await asyncio.gather(
                first.approve(pending.entry.id, prepared(), ()), second.reject(pending.entry.id, "no", ())
            )
            assert (intent is None) is rejected

    async def test_approval_with_a_taken_serial_can_be_repeated(self, ledger: Ledger) -> None:
        taken = await issue(ledger)
        pending = await ledger.open(opening(prepared=None), ())
        with pytest.raises(SerialCollision):
            await ledger.approve(pending.entry.id, prepared(taken.serial), ())
        assert await ledger.approve(pending.entry.id, prepared(), ()) is not None

    async def test_one_refusal_in_a_group_undoes_only_itself(self, ledger: Ledger) -> None:
        spent = opening(consumes=(b"m",))
        await ledger.open(spent, ())
        orders = [opening(consumes=(b"m",) if n == 7 else (bytes([n]),), signer_key=bytes([n]) * 32) for n in range(16)]
        results = await asyncio.gather(*(ledger.open(order, told("x")) for order in orders), return_exceptions=True)
        assert [n for n, result in enumerate(results) if isinstance(result, Refusal)] == [7]
        assert ledger.find("jamf", orders[7].transaction_id) is None
        assert all(ledger.find("jamf", order.transaction_id) for order in orders[:7] + orders[8:])


class Pending:
    """Requests that wait for a person."""

    async def test_pending_survives_a_restart_with_its_request(self, open_it: OpenLedger) -> None:
        first = open_it()
        opened = await first.open(opening("t1", prepared=None), told("request.pending"))
        first.close()
        second = open_it()
        found = second.entry(opened.entry.id)
        assert found is not None
        assert (found.state, found.request) == (EntryState.PENDING, b"csr")
        listed = list(second.entries(frozenset({EntryState.PENDING})))
        assert [entry.request for entry in listed] == [None]
        assert await second.approve(opened.entry.id, prepared(), ()) is not None

    async def test_rejection_is_found_by_the_poll_and_frees_the_id(self, ledger: Ledger) -> None:
        opened = await ledger.open(opening("t1", prepared=None), ())
        assert await ledger.reject(opened.entry.id, "not ours", told("request.rejected"))
        found = ledger.find("jamf", "t1")
        assert found is not None
        assert (found.state, found.note) == (EntryState.FAILED, "not ours")
        assert not (await ledger.open(opening("t1"), ())).existing

    async def test_unfinished_names_what_reconcile_must_see(self, ledger: Ledger) -> None:
        intended = await ledger.open(opening(), ())
        await issue(ledger)
        expired = await ledger.open(opening(prepared=None), ())
        await ledger.open(opening(prepared=None, pickup_until=datetime(2999, 1, 1, tzinfo=UTC)), ())
        assert [entry.id for entry in ledger.unfinished()] == [intended.entry.id, expired.entry.id]


class Revoking:
    """Revocations and CRLs."""

    async def test_first_revocation_stands(self, ledger: Ledger) -> None:
        entry = await issue(ledger)
        assert entry.serial is not None
        before = ledger.revocation_mark(ISSUER, 0)
        revoked = await ledger.revoke(ISSUER, entry.serial, ReasonFlags.key_compromise, NOW, told("revoked"))
        again = await ledger.revoke(ISSUER, entry.serial, ReasonFlags.superseded, NOW, told("revoked"))
        assert revoked == again
        assert (revoked.state, revoked.revocation_reason) == (EntryState.REVOKED, ReasonFlags.key_compromise)
        assert ledger.revocation_mark(ISSUER, 0) == before + 1
        assert kinds(ledger).count("revoked") == 1

    async def test_only_what_is_signed_and_not_released_is_withdrawn(self, ledger: Ledger) -> None:
        before, order = ledger.revocation_mark(ISSUER, 0), opening()
        assert order.prepared is not None
        intended = (await ledger.open(order, ())).entry
        issued = await issue(ledger)
        assert await ledger.withdraw(intended.id, NOW, told("withdrawn")) == intended
        assert await ledger.withdraw(issued.id, NOW, told("withdrawn")) == issued
        assert "withdrawn" not in kinds(ledger)
        assert ledger.revocation_mark(ISSUER, 0) == before

        await ledger.sign(intended.id, certificate(order.prepared), False, ())
        withdrawn = await ledger.withdraw(intended.id, NOW, told("withdrawn"))
        assert (withdrawn.state, withdrawn.revocation_reason) == (
            EntryState.REVOKED,
            ReasonFlags.cessation_of_operation,
        )
        assert [line.serial for line in ledger.revoked(ISSUER, 0, NOW)] == [withdrawn.serial]
        assert ledger.revocation_mark(ISSUER, 0) == before + 1
        assert await ledger.release(intended.id, told("released")) == withdrawn
        assert await ledger.withdraw(intended.id, NOW, told("withdrawn")) == withdrawn
        assert kinds(ledger).count("withdrawn") == 1
        assert "released" not in kinds(ledger)

    async def test_nothing_unknown_is_withdrawn(self, ledger: Ledger) -> None:
        with pytest.raises(LookupError):
            await ledger.withdraw(2**40, NOW, ())

    async def test_unknown_serial(self, ledger: Ledger) -> None:
        with pytest.raises(LookupError):
            await ledger.revoke(ISSUER, -(2**2000), ReasonFlags.superseded, NOW, ())

    async def test_certificate_revoked_while_it_is_signed_stays_revoked(self, ledger: Ledger) -> None:
        order = opening()
        assert order.prepared is not None
        opened = await ledger.open(order, ())
        await ledger.revoke(ISSUER, order.prepared.serial, ReasonFlags.superseded, NOW, ())
        entry = await ledger.sign(opened.entry.id, certificate(order.prepared), True, ())
        assert (entry.state, entry.certificate) == (EntryState.REVOKED, certificate(order.prepared).der)

    async def test_expired_entry_leaves_after_one_more_crl(self, ledger: Ledger) -> None:
        entry = await issue(ledger)
        assert entry.serial is not None
        assert entry.not_after is not None
        await ledger.revoke(ISSUER, entry.serial, ReasonFlags.superseded, NOW, ())
        after = entry.not_after + timedelta(days=1)
        assert [line.serial for line in ledger.revoked(ISSUER, 0, after)] == [entry.serial]
        assert await ledger.publish_crl(Crl(ISSUER, 0, 1, after, after + timedelta(days=1), b"crl"), 1, ())
        assert list(ledger.revoked(ISSUER, 0, after + timedelta(hours=1))) == []
        assert list(ledger.revoked(ISSUER, 1, after)) == []

    async def test_crl_numbers_only_rise(self, open_it: OpenLedger) -> None:
        ledgers = [open_it(), open_it()]
        crls = [Crl(ISSUER, 0, n // 2, NOW, NOW, bytes([n])) for n in range(2, 42)]
        done = await asyncio.gather(*(ledgers[crl.der[0] % 2].publish_crl(crl, 5, told("crl")) for crl in crls))
        newest = ledgers[0].newest_crl(ISSUER, 0)
        assert newest is not None
        assert (newest[0].number, newest[1]) == (20, 5)
        assert done.count(True) == len(kinds(ledgers[0])) <= 20
        assert not await ledgers[1].publish_crl(crls[0], 6, ())

    async def test_slow_publisher_does_not_put_an_older_list_over_a_newer_one(self, ledger: Ledger) -> None:
        newer, slow = (Crl(ISSUER, 0, number, NOW, NOW, bytes([number])) for number in (7, 8))
        assert await ledger.publish_crl(newer, 5, told("crl"))
        assert not await ledger.publish_crl(slow, 4, told("crl"))
        assert ledger.newest_crl(ISSUER, 0) == (newer, 5)
        assert await ledger.publish_crl(slow, 5, told("crl"))
        assert len(kinds(ledger)) == 2

    async def test_revocation_by_a_clock_that_is_ahead_is_listed_at_once(self, ledger: Ledger) -> None:
        entry = await issue(ledger)
        assert entry.serial is not None
        ahead = NOW + timedelta(minutes=10)
        await ledger.revoke(ISSUER, entry.serial, ReasonFlags.key_compromise, ahead, ())
        assert [(line.serial, line.revoked_at) for line in ledger.revoked(ISSUER, 0, NOW)] == [(entry.serial, ahead)]


class Configured:
    """Integrations."""

    def _integration(self, **changes: object) -> Integration:
        options = IntegrationOptions(renewal=True, san_types=frozenset({"dns", "upn"}), signing_time_window=60)
        usual = Integration("jamf", "static", options, {"secret": "token"}, True, 1, NOW, NOW)
        return dataclasses.replace(usual, **changes)

    async def test_integration_comes_back_as_it_was_put(self, ledger: Ledger) -> None:
        await ledger.put_integration(self._integration(), None, told("integration.added"))
        assert ledger.integrations() == [self._integration()]
        assert ledger.integrations_mark() == 1

    async def test_changes_meet_versions(self, ledger: Ledger) -> None:
        await ledger.put_integration(self._integration(), None, ())
        with pytest.raises(ConfigurationError, match="exists"):
            await ledger.put_integration(self._integration(), None, ())
        await ledger.put_integration(self._integration(enabled=False), 1, ())
        with pytest.raises(ConfigurationError, match="meanwhile"):
            await ledger.put_integration(self._integration(), 1, told("integration.changed"))
        assert [(each.version, each.enabled) for each in ledger.integrations()] == [(2, False)]
        assert await ledger.delete_integration("jamf", ())
        assert not await ledger.delete_integration("jamf", ())
        assert (ledger.integrations(), ledger.integrations_mark()) == ([], 3)
