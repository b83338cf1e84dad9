"""When CRLs are published and what is served: numbers rise whatever clocks and processes do (K11, K19, N24)."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509 import ReasonFlags

from scep_server.errors import LedgerUnavailable
from scep_server.status import CrlPublisher, CrlSchedule, revoke
from scep_server.types import Crl
from tests.status.conftest import START, Bench


def listed(bench, shard=0):
    der = bench.store.current(bench.issuer_id, shard)
    return [entry.serial_number for entry in x509.load_der_x509_crl(der)]


def numbers(bench, shard=0):
    return [one.crl.number for one in bench.ledger.published[bench.issuer_id, shard]]


async def revoke_one(bench, serial, *, shard=0, **fields):
    bench.ledger.add(bench.issuer_id, serial, shard=shard, **fields)
    await revoke(bench.ledger, bench.issuer_id, serial, ReasonFlags.key_compromise, bench.clock())


async def test_first_run_publishes_every_shard(bench):
    assert bench.store.current(bench.issuer_id, 0) is None
    await bench.publisher.run()
    for shard in (0, 1):
        crl = bench.store.newest(bench.issuer_id, shard)
        assert crl.number == int(START.timestamp())
        assert crl.next_update - crl.this_update == timedelta(days=7)
        assert listed(bench, shard) == []
    assert bench.store.current(bench.issuer_id, 2) is None
    assert bench.store.current("another", 0) is None
    assert [event.kind for event in bench.ledger.events] == ["crl.published"] * 2


async def test_nothing_due_publishes_nothing(bench):
    await bench.publisher.run()
    bench.clock.pass_by(hours=23, minutes=59)
    await bench.publisher.run()
    assert len(numbers(bench)) == 1


async def test_a_revocation_is_listed_by_the_next_run_in_its_shard_only(bench):
    await bench.publisher.run()
    await revoke_one(bench, 0x5301, shard=1)
    await bench.publisher.run()
    assert (listed(bench, 0), listed(bench, 1)) == ([], [0x5301])
    assert numbers(bench, 1) == [int(START.timestamp()), int(START.timestamp()) + 1]
    assert len(numbers(bench, 0)) == 1
    assert bench.ledger.events[-1].detail["why"] == "revocation"


async def test_schedule_renews_before_the_end(bench):
    await bench.publisher.run()
    bench.clock.pass_by(days=1)
    await bench.publisher.run()
    first, second = numbers(bench)
    assert second == first + 86400
    assert bench.store.newest(bench.issuer_id, 0).next_update == START + timedelta(days=8)
    with pytest.raises(ValueError, match="renewed before it ends"):
        CrlPublisher(
            bench.ledger,
            bench.ca.authority,
            1,
            pool=bench.pool,
            clock=bench.clock,
            published=bench.store.offer,
            schedule=CrlSchedule(lifetime=timedelta(days=1)),
        )


async def test_an_entry_stays_until_one_list_after_its_end(bench):
    await revoke_one(bench, 0x5301, not_after=START + timedelta(hours=36))
    seen = []
    for _ in range(4):
        await bench.publisher.run()
        seen.append(listed(bench))
        bench.clock.pass_by(days=1)
    assert seen == [[0x5301], [0x5301], [0x5301], []]  # ends during day two; the list of day three is the one after


# --- clocks (N24, K19) ------------------------------------------------------------------------------------------------


async def test_clock_set_back_neither_lowers_a_number_nor_forgets_a_revocation(bench, caplog):
    bench.clock.pass_by(days=1800)
    await revoke_one(bench, 0x5301, not_after=START + timedelta(days=3000))
    await bench.publisher.run()
    bench.clock.now = START
    await revoke_one(bench, 0x5302)
    with caplog.at_level(logging.WARNING):
        await bench.publisher.run()
    await bench.publisher.run()
    first, second = numbers(bench)
    assert second == first + 1
    crl = bench.store.newest(bench.issuer_id, 0)
    assert (crl.number, crl.this_update) == (second, START)
    assert listed(bench) == [0x5301, 0x5302]


async def test_clock_set_back_is_seen_without_a_revocation(bench, caplog):
    await bench.publisher.run()
    bench.clock.pass_by(minutes=-4)
    await bench.publisher.run()
    assert len(numbers(bench)) == 1  # hosts differ by as much
    bench.clock.pass_by(days=-1)
    with caplog.at_level(logging.WARNING):
        await bench.publisher.run()
    assert "set back" in caplog.text
    first, second = numbers(bench)
    assert second == first + 1


async def test_expired_certificates_come_back_after_a_visit_to_the_future(bench):
    await revoke_one(bench, 0x5301, not_after=START + timedelta(days=365))
    await bench.publisher.run()
    for days in (1800, 1802):
        bench.clock.now = START + timedelta(days=days)
        await bench.publisher.run()
    assert listed(bench) == []
    bench.clock.now = START
    await bench.publisher.run()
    assert listed(bench) == [0x5301]


async def test_a_host_a_little_ahead_revokes_in_our_future(bench):
    await bench.publisher.run()
    ahead = bench.beside()
    ahead.clock.pass_by(minutes=2)
    await revoke_one(ahead, 0x5301)
    await bench.publisher.run()
    assert listed(bench) == [0x5301]


async def test_numbers_pass_those_published_before_a_restore(bench):
    await bench.publisher.run()
    for serial in range(0x5301, 0x5311):
        await revoke_one(bench, serial)
        bench.clock.pass_by(seconds=2)
        await bench.publisher.run()
    lost = numbers(bench)[-1]
    published = bench.ledger.published[bench.issuer_id, 0]
    del published[3:]  # the backup was older
    bench.clock.pass_by(minutes=10)
    await bench.publisher.run()
    assert numbers(bench)[-1] > lost


# --- several processes (K11) ------------------------------------------------------------------------------------------


async def test_racing_publishers_leave_rising_numbers_and_the_full_list_everywhere(bench):
    with ThreadPoolExecutor(4) as pool:
        benches = [Bench(bench.ca, bench.ledger, pool) for _ in range(4)]
        for turn in range(25):
            serial = 0x530000 + turn
            bench.ledger.add(bench.issuer_id, serial)
            revocation = revoke(bench.ledger, bench.issuer_id, serial, ReasonFlags.superseded, START)
            await asyncio.gather(*(one.publisher.run() for one in benches), revocation)
        for one in benches:
            await one.publisher.run()
            await one.store.refresh()
    assert numbers(bench) == sorted(set(numbers(bench)))
    lengths = [len(x509.load_der_x509_crl(one.crl.der)) for one in bench.ledger.published[bench.issuer_id, 0]]
    assert lengths == sorted(lengths)
    expected = [0x530000 + turn for turn in range(25)]
    assert [listed(one) for one in benches] == [expected] * 4


async def test_an_older_list_cannot_follow_a_newer_one_under_a_higher_number(bench):
    slow = bench.beside()
    slow.clock.pass_by(seconds=30)
    prepared = slow.publisher._sign_if_due(0)
    await revoke_one(bench, 0x5301)
    await bench.publisher.run()
    crl, mark, _ = prepared
    assert crl.number > numbers(bench)[0]
    assert not await bench.ledger.publish_crl(crl, mark, ())
    assert len(numbers(bench)) == 1


async def test_the_slower_process_serves_what_the_faster_one_published(bench):
    slow = bench.beside()
    publish = bench.ledger.publish_crl

    async def after_the_other(crl, mark, events):
        bench.ledger.publish_crl = publish
        await bench.publisher.publish_if_due(0)
        return await publish(crl, mark, events)

    bench.ledger.publish_crl = after_the_other
    await slow.publisher.publish_if_due(0)
    assert len(numbers(bench)) == 1
    assert slow.store.current(bench.issuer_id, 0) == bench.store.current(bench.issuer_id, 0) is not None


# --- the store --------------------------------------------------------------------------------------------------------


async def test_refresh_takes_over_what_another_process_published(bench):
    other = bench.beside()
    await other.publisher.run()
    await bench.store.refresh()
    assert bench.store.current(bench.issuer_id, 0) == other.store.current(bench.issuer_id, 0)
    await revoke_one(other, 0x5301)
    await other.publisher.run()
    await bench.store.refresh()
    assert listed(bench) == [0x5301]


async def test_refresh_reads_marks_only_while_nothing_changes(bench):
    await bench.publisher.run()
    await bench.store.refresh()
    before = bench.ledger.reads
    for _ in range(30):
        bench.clock.pass_by(seconds=1)
        await bench.store.refresh()
    assert bench.ledger.reads == before
    bench.clock.pass_by(minutes=1)
    await bench.store.refresh()
    assert bench.ledger.reads == before + 2


async def test_renewal_on_schedule_elsewhere_is_seen_within_the_reread_time(bench):
    other = bench.beside()
    await other.publisher.run()
    await bench.store.refresh()
    other.clock.pass_by(days=1)
    await other.publisher.run()
    bench.clock.pass_by(seconds=61)
    await bench.store.refresh()
    assert bench.store.newest(bench.issuer_id, 0).number == numbers(bench)[-1]


async def test_the_store_never_goes_back(bench):
    await bench.publisher.run()
    held = bench.store.newest(bench.issuer_id, 0)
    for number in (held.number - 1, held.number):
        bench.store.offer(Crl(bench.issuer_id, 0, number, START, START, b"older"), 99)
        assert bench.store.newest(bench.issuer_id, 0) is held


async def test_lists_are_served_while_the_database_is_down(bench):
    await bench.publisher.run()
    held = bench.store.current(bench.issuer_id, 0)
    bench.ledger.down = True
    with pytest.raises(LedgerUnavailable):
        await bench.store.refresh()
    assert bench.store.current(bench.issuer_id, 0) == held is not None


async def test_a_fault_is_logged_once_and_stops_no_other_shard(bench, caplog):
    await bench.publisher.run()
    bench.ledger.down = True
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await bench.publisher.run()
    assert [record.getMessage() for record in caplog.records] == [
        f"CRL {bench.issuer_id}/{shard} was not renewed: the database is away" for shard in (0, 1)
    ]
    bench.ledger.down = False
    await revoke_one(bench, 0x5301)
    await bench.publisher.run()
    assert listed(bench) == [0x5301]
