"""What every ledger must do with notices and leases."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.errors import Fault
from scep_server.ledger import Ledger
from scep_server.types import Certificate, Entry, Notice, NoticeKind, Prepared
from tests.contracts.ledger_contract import ISSUER, NOW, OpenLedger, certificate, kinds, opening, prepared, told


def notice(**changes: object) -> Notice:
    """Something to tell; changes replace fields."""
    usual = Notice(secrets.token_hex(8), NoticeKind.ISSUED, "jamf", NOW, "t1", "CN=device")
    return dataclasses.replace(usual, **changes)


def real_certificate() -> tuple[Prepared, Certificate]:
    """One that can be read, and what it was prepared as."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "device")])
    end = NOW.replace(microsecond=0) + timedelta(days=1)
    start = end - timedelta(days=2)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, end)
    made = builder.sign(key, SHA256())
    der = made.public_bytes(Encoding.DER)
    subject = name.public_bytes()
    intent = Prepared(made.tbs_certificate_bytes, ISSUER, made.serial_number, 0, subject, start, end)
    return intent, Certificate(der, ISSUER, made.serial_number, subject, start, end)


class Outbox:
    """Notices: stored with what they tell, told at least once."""

    async def _intended(self, ledger: Ledger, intent: Prepared | None = None) -> Entry:
        return (await ledger.open(opening(prepared=intent or prepared()), ())).entry

    async def test_a_signature_is_told_with_its_certificate(self, ledger: Ledger) -> None:
        intent, signed = real_certificate()
        entry = await self._intended(ledger, intent)
        news = notice(transaction_id="a\0b", subject="CN=\0", reason="x\ud800")
        await ledger.sign(entry.id, signed, True, told("certificate.issued"), [news])
        (due,) = ledger.due_notices(NOW, 10)
        assert due == dataclasses.replace(
            news,
            entry_id=entry.id,
            certificate=signed,
            transaction_id="a\\x00b",
            subject="CN=\\x00",
            reason="x\\ud800",
        )

    async def test_failure_rejection_and_refusal_are_told(self, ledger: Ledger) -> None:
        failed, pending = await self._intended(ledger), (await ledger.open(opening(prepared=None), ())).entry
        news = [notice(id=name, kind=NoticeKind.FAILED, reason=name) for name in "abcd"]
        await ledger.fail(failed.id, "no", (), [news[0]])
        assert await ledger.reject(pending.id, "no", (), [news[1]])
        await ledger.record((), [news[2]])
        await ledger.record((), [dataclasses.replace(news[3], entry_id=pending.id)])
        entries = [failed.id, pending.id, None, pending.id]
        expected = [dataclasses.replace(each, entry_id=entry) for each, entry in zip(news, entries, strict=True)]
        assert ledger.due_notices(NOW, 10) == expected

    async def test_nothing_written_is_nothing_told(self, ledger: Ledger) -> None:
        intent = prepared()
        entry = await self._intended(ledger, intent)
        with pytest.raises(Fault):
            await ledger.sign(entry.id, certificate(prepared()), True, (), [notice()])
        await ledger.sign(entry.id, certificate(intent), True, ())
        await ledger.sign(entry.id, certificate(intent), True, (), [notice()])
        await ledger.fail(entry.id, "no", (), [notice()])
        assert not await ledger.reject(entry.id, "no", (), [notice()])
        await ledger.record(())
        in_company = ledger.fail(entry.id, "no", (), [notice()]), ledger.record(told("x"), ())
        await asyncio.gather(*in_company)
        assert ledger.due_notices(NOW + timedelta(days=99), 10) == []

    async def test_a_notice_that_cannot_be_kept_undoes_what_it_tells(self, ledger: Ledger) -> None:
        pending = (await ledger.open(opening(prepared=None), ())).entry
        with pytest.raises(Fault):
            await ledger.reject(pending.id, "no", told("request.rejected"), [notice(entry_id=2**40)])
        assert await ledger.reject(pending.id, "no", told("request.rejected"), [notice()])
        assert (len(kinds(ledger)), len(ledger.due_notices(NOW, 10))) == (1, 1)

    async def test_the_same_notice_is_kept_once(self, ledger: Ledger) -> None:
        again = notice()
        await ledger.record((), [again])
        await ledger.record((), [again])
        assert ledger.due_notices(NOW, 10) == [again]

    async def test_what_is_due_comes_in_order_until_it_is_told(self, ledger: Ledger) -> None:
        news = [notice(id=f"n{number}", at=NOW + timedelta(seconds=number)) for number in range(5)]
        await ledger.record((), news[::-1])
        assert ledger.due_notices(NOW - timedelta(seconds=1), 10) == []
        assert ledger.due_notices(NOW + timedelta(seconds=3), 2) == news[:2]
        await ledger.notice_later("n0", NOW + timedelta(minutes=1))
        await ledger.notice_told("n1", told("notice.told"))
        await ledger.notice_told("n1", told("notice.told"))
        await ledger.notice_later("n1", NOW)
        assert [each.id for each in ledger.due_notices(NOW + timedelta(seconds=9), 10)] == ["n2", "n3", "n4"]
        late = ledger.due_notices(NOW + timedelta(minutes=1), 10)[-1]
        assert late == dataclasses.replace(news[0], tries=1)
        assert kinds(ledger) == ["notice.told"]


class Leasing:
    """One holder at a time."""

    async def test_anothers_lease_stands_until_it_ends(self, open_it: OpenLedger) -> None:
        first, second = open_it(), open_it()
        until = NOW + timedelta(seconds=30)
        assert await first.lease("sync", "a", NOW, until)
        assert not await second.lease("sync", "b", NOW, until + timedelta(days=1))
        assert await second.lease("other", "b", NOW, until)
        longer = until + timedelta(seconds=30)
        assert await first.lease("sync", "a", NOW, longer)
        assert not await second.lease("sync", "b", until, longer + timedelta(days=1))
        assert await second.lease("sync", "b", longer, longer + timedelta(days=1))
        assert not await first.lease("sync", "a", longer, longer + timedelta(days=1))

    async def test_only_its_holder_gives_it_back(self, ledger: Ledger) -> None:
        until = NOW + timedelta(seconds=30)
        assert await ledger.lease("sync", "a", NOW, until)
        await ledger.end_lease("sync", "b")
        assert not await ledger.lease("sync", "b", NOW, until)
        await ledger.end_lease("sync", "a")
        assert await ledger.lease("sync", "b", NOW, until)

    async def test_of_many_who_ask_one_gets_it(self, open_it: OpenLedger) -> None:
        ledgers = [open_it(), open_it()]
        now = datetime.now(UTC)
        ends = now + timedelta(seconds=30)
        work = (ledgers[n % 2].lease("sync", f"holder {n}", now, ends) for n in range(40))
        assert (await asyncio.gather(*work)).count(True) == 1
