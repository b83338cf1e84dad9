"""What every ledger must do with one-time challenges: keep them, and spend each use once (N17, F17, R50)."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.errors import ChallengesFull, Fault, Reason, Refusal
from scep_server.ledger import Ledger
from scep_server.types import Entry, EntryState, MessageType, NameBinding, OpenChallenge, Opening, SpentChallenge
from tests.contracts.ledger_contract import NOW, OpenLedger, certificate, issue, kinds, opening, prepared, told

BOUND = NameBinding('CN=a\0b,O="\ud800"', ("dns:a.example", "upn:b@c"), ("device 1",))


def challenge(**changes: object) -> OpenChallenge:
    """A challenge that is open for an hour from now, to the microsecond; changes replace fields."""
    now = datetime.now(UTC)
    usual = OpenChallenge("jamf", os.urandom(32), now, now + timedelta(hours=1))
    return dataclasses.replace(usual, **changes)


def other_key(**changes: object) -> Opening:
    """Another device's request."""
    return opening(signer_key=os.urandom(32), request_hash=os.urandom(32), **changes)


class OpenChallenges:
    """Challenges that can still be used."""

    async def test_a_challenge_comes_back_as_it_was_put(self, ledger: Ledger) -> None:
        plain, bound = challenge(), challenge(uses=65536, binding=BOUND, sealed="token")
        await ledger.challenges.put([plain, bound], None, told("challenge.minted"))
        assert [await ledger.challenges.find("jamf", each.mac) for each in (plain, bound)] == [plain, bound]
        assert kinds(ledger) == ["challenge.minted"]

    async def test_another_integration_finds_nothing(self, ledger: Ledger) -> None:
        spent, unspent = challenge(), challenge()
        await ledger.challenges.put([spent, unspent], None, ())
        await ledger.open(opening(consumes=(spent.mac,)), ())
        assert [await ledger.challenges.find("intune", each.mac) for each in (spent, unspent)] == [None, None]
        assert await ledger.challenges.find("jamf", os.urandom(32)) is None

    async def test_all_are_kept_or_none(self, ledger: Ledger) -> None:
        first = challenge()
        await ledger.challenges.put([first], None, ())
        new = challenge(lookups=(b"l",))
        with pytest.raises(Fault):
            await ledger.challenges.put([new, first], None, told("challenge.minted"))
        with pytest.raises(Fault):
            await ledger.challenges.put([challenge(uses=0)], None, told("challenge.minted"))
        assert await ledger.challenges.find("jamf", new.mac) is None
        assert (await ledger.challenges.unspent("jamf"), kinds(ledger)) == (1, [])

    async def test_ceiling_counts_what_is_open_in_this_integration(self, ledger: Ledger) -> None:
        now = datetime.now(UTC)
        expired = challenge(minted_at=now - timedelta(hours=2), expires_at=now - timedelta(hours=1))
        await ledger.challenges.put([expired, challenge(integration="intune")], None, ())
        kept = [challenge() for _ in range(3)]
        await ledger.challenges.put(kept, 3, ())
        with pytest.raises(ChallengesFull, match="jamf has 3 unspent"):
            await ledger.challenges.put([challenge()], 3, told("challenge.minted"))
        assert (await ledger.challenges.unspent("jamf"), await ledger.challenges.unspent("intune")) == (3, 1)
        await ledger.open(opening(consumes=(kept[0].mac,)), ())
        with pytest.raises(ChallengesFull):
            await ledger.challenges.put([challenge(), challenge()], 3, ())
        await ledger.challenges.put([challenge()], 3, ())
        assert kinds(ledger) == []

    async def test_parallel_minters_never_pass_the_ceiling(self, open_it: OpenLedger) -> None:
        ledgers = [open_it(), open_it()]
        work = (ledgers[n % 2].challenges.put([challenge(), challenge()], 15, told("minted")) for n in range(40))
        results = await asyncio.gather(*work, return_exceptions=True)
        assert [type(result) for result in results if result is not None] == [ChallengesFull] * 33
        assert await ledgers[0].challenges.unspent("jamf") == 14
        assert len(kinds(ledgers[0])) == 7

    async def test_sealed_ones_are_found_by_lookup_the_newest_two(self, ledger: Ledger) -> None:
        now = datetime.now(UTC)
        minted = [now - timedelta(minutes=number) for number in range(4)]
        kept = [challenge(minted_at=at, sealed="s", lookups=(b"subject", at.isoformat().encode())) for at in minted]
        unfit = [
            challenge(minted_at=now + timedelta(minutes=1), sealed="", lookups=(b"subject",)),
            challenge(minted_at=now + timedelta(minutes=1), sealed="s", expires_at=now, lookups=(b"subject",)),
            challenge(minted_at=now + timedelta(minutes=1), sealed="s", integration="intune", lookups=(b"subject",)),
        ]
        await ledger.challenges.put([*reversed(kept), *unfit], None, ())
        found = await ledger.challenges.sealed("jamf", b"subject")
        assert found == [dataclasses.replace(each, lookups=()) for each in kept[:2]]
        await ledger.open(opening(consumes=(kept[0].mac,)), ())
        found = await ledger.challenges.sealed("jamf", b"subject")
        assert [each.mac for each in found] == [kept[1].mac, kept[2].mac]
        last = await ledger.challenges.sealed("jamf", minted[3].isoformat().encode())
        assert [each.mac for each in last] == [kept[3].mac]
        assert await ledger.challenges.sealed("jamf", b"nobody's") == []

    async def test_expired_ones_are_counted_once_and_kept_for_a_day(self, open_it: OpenLedger) -> None:
        first, second = open_it(), open_it()
        kept = [challenge(lookups=(b"l",), sealed="s") for _ in range(1203)]
        later = challenge(expires_at=kept[-1].expires_at + timedelta(days=3))
        await first.challenges.put([*kept, later], None, ())
        await first.open(opening(consumes=(kept[0].mac,)), ())
        end = kept[-1].expires_at
        assert await first.challenges.expire(kept[0].minted_at) == 0
        counted = await asyncio.gather(*(each.challenges.expire(end) for each in (first, second)))
        assert sum(counted) == 1202
        assert await second.challenges.expire(end + timedelta(hours=23)) == 0
        assert await first.challenges.find("jamf", kept[1].mac) == dataclasses.replace(kept[1], lookups=())
        assert await second.challenges.expire(end + timedelta(days=1)) == 0
        assert [await first.challenges.find("jamf", each.mac) for each in kept[1:]] == [None] * 1202
        assert await first.challenges.find("jamf", later.mac) == later
        assert await first.challenges.sealed("jamf", b"l") == []


class Spending:
    """Uses are unique rows, taken in the commit that records the entry."""

    async def test_a_spent_challenge_is_forgotten_but_never_forgiven(self, ledger: Ledger) -> None:
        once = challenge(sealed="s", lookups=(b"l",))
        await ledger.challenges.put([once], None, ())
        opened = await ledger.open(opening(consumes=(once.mac,)), ())
        assert await ledger.challenges.find("jamf", once.mac) == SpentChallenge(opened.entry.id)
        assert (await ledger.challenges.unspent("jamf"), await ledger.challenges.sealed("jamf", b"l")) == (0, [])
        await ledger.challenges.forget("jamf", [once.mac])
        with pytest.raises(Refusal) as caught:
            await ledger.open(other_key(consumes=(once.mac,)), told("certificate.intended"))
        assert (caught.value.reason, caught.value.security) == (Reason.CHALLENGE_SPENT, True)
        assert (len(list(ledger.entries())), kinds(ledger)) == (1, [])

    async def test_a_challenge_kept_elsewhere_is_spent_here(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        opened = await ledger.open(opening(consumes=(mac,)), ())
        assert await ledger.challenges.find("jamf", mac) == SpentChallenge(opened.entry.id)

    async def test_a_refused_opening_spends_nothing(self, ledger: Ledger) -> None:
        spent, kept = challenge(), challenge()
        await ledger.challenges.put([spent, kept], None, ())
        await ledger.open(opening(consumes=(spent.mac,)), ())
        with pytest.raises(Refusal):
            await ledger.open(other_key(consumes=(kept.mac, spent.mac)), ())
        assert await ledger.challenges.find("jamf", kept.mac) == kept
        assert (await ledger.open(other_key(consumes=(kept.mac,)), ())).intent is not None

    async def test_each_use_is_an_entry_and_the_last_one_ends_it(self, open_it: OpenLedger) -> None:
        ledgers = [open_it(), open_it()]
        five = challenge(uses=5)
        await ledgers[0].challenges.put([five], None, ())
        orders = [other_key(consumes=(five.mac,), uses=5) for _ in range(30)]
        for order in orders[:4]:
            assert (await ledgers[0].open(order, ())).used_up == ()
        assert await ledgers[1].challenges.find("jamf", five.mac) == five
        work = (ledgers[n % 2].open(order, ()) for n, order in enumerate(orders[4:]))
        results = await asyncio.gather(*work, return_exceptions=True)
        (opened,) = [result for result in results if not isinstance(result, BaseException)]
        assert (opened.used_up, len(results)) == ((five.mac,), 26)
        assert {type(result) for result in results if result is not opened} == {Refusal}
        last = max(entry.id for entry in ledgers[0].entries())
        assert await ledgers[0].challenges.find("jamf", five.mac) == SpentChallenge(last)
        assert await ledgers[0].challenges.unspent("jamf") == 0

    async def test_slots_of_neighbouring_macs_are_kept_apart(self, ledger: Ledger) -> None:
        macs = [bytes(31) + bytes([number]) for number in range(3)]
        for mac in macs:
            await ledger.open(other_key(consumes=(mac,), uses=3), ())
        for mac in macs:
            for _ in range(2):
                await ledger.open(other_key(consumes=(mac,), uses=3), ())
            with pytest.raises(Refusal):
                await ledger.open(other_key(consumes=(mac,), uses=3), ())

    async def test_many_uses_of_one_challenge_are_not_searched_from_the_first(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        for number in (0, 1, 2):
            await ledger.open(other_key(consumes=(mac,), uses=65536), told(str(number)))
        session = ledger._writer._session
        assert session is not None
        row = session.one(session.sql.last_slot, {"first": mac, "last": mac + b"\xff\xff"})
        assert row is not None
        assert row[0] == mac + b"\0\2"


class LostReply:
    """The same request, sent again under another transaction id, has the challenge that it spent itself."""

    async def test_it_gets_its_entry_and_nothing_is_written(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        entry = await issue(ledger, transaction_id="t1", consumes=(mac,))
        again = await ledger.open(opening("t2", consumes=(mac,)), told("certificate.intended"))
        assert (again.existing, again.intent, again.entry) == (True, None, entry)
        assert (len(list(ledger.entries())), len(kinds(ledger))) == (1, 2)
        assert ledger.find("jamf", "t2") is None

    async def test_in_a_group_it_leaves_the_others_alone(self, ledger: Ledger) -> None:
        macs = [os.urandom(32) for _ in range(8)]
        spent = challenge(mac=macs[3])
        await ledger.challenges.put([spent, *(challenge(mac=mac) for mac in macs if mac != spent.mac)], None, ())
        before = await ledger.open(opening("t1", consumes=(spent.mac,)), ())
        orders = [opening(f"again-{n}", consumes=(mac,)) for n, mac in enumerate(macs)]
        results = await asyncio.gather(*(ledger.open(order, told("x")) for order in orders))
        assert [result.existing for result in results] == [n == 3 for n in range(8)]
        assert results[3].entry == before.entry
        assert (len(list(ledger.entries())), len(kinds(ledger))) == (8, 7)
        assert ledger.find("jamf", "again-3") is None

    async def test_what_it_wrote_on_the_way_is_undone(self, ledger: Ledger) -> None:
        """It retired an older entry of its own transaction id, and took another challenge first."""
        spent, kept = challenge(), challenge()
        await ledger.challenges.put([spent, kept], None, ())
        entry = await issue(ledger, transaction_id="t1", consumes=(spent.mac,), pickup_until=prepared().not_after)
        older = await issue(ledger, transaction_id="t2", request_hash=b"o" * 32)
        order = opening("t2", consumes=(kept.mac, spent.mac), replaces=older.id)
        again = await ledger.open(order, told("x"))
        assert (again.existing, again.entry) == (True, entry)
        assert ledger.find("jamf", "t2") == older
        assert await ledger.challenges.find("jamf", kept.mac) == kept

    @pytest.mark.parametrize(
        "change",
        [
            {"integration": "intune"},
            {"signer_key": b"o" * 32},
            {"request_key": b"o" * 32},
            {"request_hash": b"o" * 32},
            {"message_type": MessageType.RENEWAL_REQ},
            {"received_at": opening().pickup_until},
        ],
        ids=lambda change: next(iter(change)),
    )
    async def test_another_request_does_not(self, ledger: Ledger, change: dict[str, object]) -> None:
        mac = os.urandom(32)
        await issue(ledger, transaction_id="t1", consumes=(mac,))
        with pytest.raises(Refusal) as caught:
            await ledger.open(opening("t2", consumes=(mac,), **change), told("certificate.intended"))
        assert (caught.value.reason, caught.value.security) == (Reason.CHALLENGE_SPENT, True)
        assert len(list(ledger.entries())) == 1

    async def test_a_failed_entry_gives_nothing_back(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        opened = await ledger.open(opening("t1", consumes=(mac,)), ())
        await ledger.fail(opened.entry.id, "signer gave up", ())
        with pytest.raises(Refusal):
            await ledger.open(opening("t2", consumes=(mac,)), ())

    async def test_of_several_uses_it_finds_its_own(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        orders = [other_key(consumes=(mac,), uses=3) for _ in range(3)]
        opened = [await ledger.open(order, ()) for order in orders]
        middle = dataclasses.replace(orders[1], transaction_id="again", prepared=prepared())
        again = await ledger.open(middle, ())
        assert (again.existing, again.entry) == (True, opened[1].entry)

    async def test_of_several_uses_it_takes_no_second_one(self, open_it: OpenLedger) -> None:
        """Or the challenge would be used up before all those came for whom it is."""
        ledgers = [open_it(), open_it()]
        three = challenge(uses=3)
        await ledgers[0].challenges.put([three], None, ())
        first = await ledgers[0].open(opening("t1", consumes=(three.mac,), uses=3), ())
        again = [opening(f"again-{n}", consumes=(three.mac,), uses=3) for n in range(20)]
        results = await asyncio.gather(*(ledgers[n % 2].open(order, told("x")) for n, order in enumerate(again)))
        assert {(result.existing, result.entry.id) for result in results} == {(True, first.entry.id)}
        assert (len(list(ledgers[0].entries())), kinds(ledgers[0])) == (1, [])
        others = [await ledgers[1].open(other_key(consumes=(three.mac,), uses=3), ()) for _ in range(2)]
        assert [opened.existing for opened in others] == [False, False]

    async def test_one_device_at_once_takes_one_use_of_several(self, open_it: OpenLedger) -> None:
        """Its requests race under different transaction ids, and none was there before the others."""
        ledgers = [open_it(), open_it()]
        mac = os.urandom(32)
        orders = [opening(f"t{n}", consumes=(mac,), uses=50) for n in range(20)]
        results = await asyncio.gather(*(ledgers[n % 2].open(order, ()) for n, order in enumerate(orders)))
        assert sorted(result.existing for result in results) == [False] + [True] * 19
        assert len({result.entry.id for result in results}) == len(list(ledgers[0].entries())) == 1

    async def test_it_goes_on_where_the_entry_stands(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        order = opening("t1", consumes=(mac,))
        assert order.prepared is not None
        await ledger.open(order, ())
        again = await ledger.open(opening("t2", consumes=(mac,)), ())
        intent = await ledger.resume(again.entry.id)
        assert intent is not None
        assert intent.take() == order.prepared.tbs
        signed = await ledger.sign(again.entry.id, certificate(order.prepared), True, ())
        assert signed.state is EntryState.ISSUED


class Following:
    """A request that waits is sent again under a new transaction id, and is polled for by that one."""

    async def _waiting(self, ledger: Ledger, mac: bytes, transaction_id: str = "t1") -> Entry:
        order = opening(transaction_id, consumes=(mac,), prepared=None)
        return (await ledger.open(order, told("request.pending"))).entry

    async def test_it_goes_by_the_new_id(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        entry = await self._waiting(ledger, mac)
        again = opening("t2", consumes=(mac,), prepared=None)
        assert (await ledger.open(again, told("request.pending"))).entry == entry
        followed = await ledger.follow(entry.id, again, told("request.pending"))
        moved = dataclasses.replace(entry, transaction_id="t2")
        assert (followed.existing, followed.intent, followed.entry) == (True, None, moved)
        assert (ledger.find("jamf", "t1"), ledger.find("jamf", "t2")) == (None, moved)
        assert await ledger.follow(entry.id, again, told("request.pending")) == followed
        assert kinds(ledger) == ["request.pending"] * 2
        stored = ledger.entry(entry.id)
        assert stored is not None
        assert stored.request == b"csr"
        assert await ledger.approve(entry.id, prepared(), ()) is not None

    async def test_one_that_is_over_makes_room(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        entry = await self._waiting(ledger, mac)
        over = await issue(ledger, transaction_id="t2", pickup_until=NOW)
        followed = await ledger.follow(entry.id, opening("t2", consumes=(mac,), prepared=None), ())
        assert (followed.entry.id, ledger.find("jamf", "t2")) == (entry.id, followed.entry)
        assert ledger.entry(over.id) is not None

    async def test_a_live_one_stands(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        entry, live = await self._waiting(ledger, mac), await issue(ledger, transaction_id="t2")
        followed = await ledger.follow(entry.id, opening("t2", consumes=(mac,), prepared=None), told("request.pending"))
        assert (followed.existing, followed.entry) == (True, live)
        assert (ledger.find("jamf", "t1"), len(kinds(ledger))) == (entry, 3)

    async def test_what_was_decided_meanwhile_stays_where_it_is(self, ledger: Ledger) -> None:
        mac = os.urandom(32)
        entry = await self._waiting(ledger, mac)
        over = await issue(ledger, transaction_id="t2", pickup_until=NOW)
        assert await ledger.approve(entry.id, prepared(), ()) is not None
        followed = await ledger.follow(entry.id, opening("t2", consumes=(mac,), prepared=None), told("request.pending"))
        assert (followed.entry.id, followed.entry.state) == (entry.id, EntryState.INTENDED)
        assert (followed.entry.transaction_id, ledger.find("jamf", "t2")) == ("t1", over)
        assert len(kinds(ledger)) == 3
