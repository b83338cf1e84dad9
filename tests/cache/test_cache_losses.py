"""F17 to F19: a Redis that forgets or goes back in time loses challenges; it never revives one. The ledger is real."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections import Counter

import pytest

from scep_server.cache import RedisChallenges
from scep_server.errors import Fault, Reason, Refusal
from scep_server.ledger import Ledger
from scep_server.types import OpenChallenge, SpentChallenge
from tests.cache.conftest import Hands, Store
from tests.cache.test_cache_challenges import challenge, keys_of
from tests.contracts.ledger_contract import certificate, opening, told
from tests.e2e.redis_server import RedisProcess

APPEND = ("--appendonly", "yes", "--appendfsync", "everysec")


async def enrol(challenges: RedisChallenges, ledger: Ledger, mac: bytes, key: bytes | None = None) -> bool:
    """What the house and its plugin do with a challenge: find it, spend it in the intent's commit, forget it.

    True: this device has a certificate. False: a clean refusal.
    """
    found = await challenges.find("jamf", mac)
    if not isinstance(found, OpenChallenge):
        return False
    key = key or os.urandom(32)
    order = opening(signer_key=key, request_hash=key, consumes=(mac,), uses=found.uses)
    try:
        opened = await ledger.open(order, told("certificate.intended"))
    except Refusal as refusal:
        if refusal.reason is not Reason.CHALLENGE_SPENT or not refusal.security:
            raise
        return False
    if opened.existing:
        return False
    assert order.prepared is not None
    await ledger.sign(opened.entry.id, certificate(order.prepared), True, told("certificate.issued"))
    await challenges.forget("jamf", [mac])
    return True


def dump(redis: RedisProcess) -> dict[bytes, bytes]:
    """Every key with its value, as a backup has them."""
    saved = {key: redis.ask("DUMP", key) for key in keys_of(redis, "")}
    return {key: value for key, value in saved.items() if isinstance(value, bytes)}


def restore(redis: RedisProcess, saved: dict[bytes, bytes]) -> None:
    for key, value in saved.items():
        redis.ask("RESTORE", key, 0, value, "REPLACE")


@pytest.fixture
def challenges(store: Store, redis: RedisProcess) -> RedisChallenges:
    return store(url=redis.url)


async def test_one_challenge_makes_one_certificate(
    challenges: RedisChallenges, hands: Hands, ledger: Ledger, redis: RedisProcess
) -> None:
    one = challenge(hands)
    await challenges.put([one], None, ())
    assert await enrol(challenges, ledger, one.mac)
    assert keys_of(redis, "challenge") == []
    assert not await enrol(challenges, ledger, one.mac)
    assert isinstance(await challenges.find("jamf", one.mac), SpentChallenge)


async def test_parallel_requests_make_one_certificate(
    store: Store, hands: Hands, ledger: Ledger, redis: RedisProcess
) -> None:
    """N17 as far as it is ours; all of them find the challenge before the first has spent it."""
    sides = [store(url=redis.url) for _ in range(3)]
    one = challenge(hands)
    await sides[0].put([one], None, ())
    results = await asyncio.gather(*(enrol(sides[n % 3], ledger, one.mac) for n in range(60)))
    assert Counter(results) == {True: 1, False: 59}


async def test_flushed_challenges_are_lost_and_the_spent_stay_spent(
    challenges: RedisChallenges, hands: Hands, ledger: Ledger, redis: RedisProcess
) -> None:
    spent, unspent, later = challenge(hands), challenge(hands), challenge(hands)
    await challenges.put([spent, unspent], None, ())
    assert await enrol(challenges, ledger, spent.mac)
    redis.ask("FLUSHALL")
    assert isinstance(await challenges.find("jamf", spent.mac), SpentChallenge)
    assert await challenges.find("jamf", unspent.mac) is None
    assert not await enrol(challenges, ledger, spent.mac)
    assert not await enrol(challenges, ledger, unspent.mac)
    assert (await challenges.unspent("jamf"), await challenges.expire(later.expires_at)) == (0, 0)
    await challenges.put([later], 1, ())
    assert await enrol(challenges, ledger, later.mac)


async def test_restart_without_persistence_is_a_flush(store: Store, hands: Hands, ledger: Ledger) -> None:
    with RedisProcess() as process:
        challenges, spent, unspent = store(url=process.url), challenge(hands), challenge(hands)
        await challenges.put([spent, unspent], None, ())
        assert await enrol(challenges, ledger, spent.mac)
        process.end(signal.SIGTERM)
        process.start()
        assert not await enrol(challenges, ledger, spent.mac)
        assert not await enrol(challenges, ledger, unspent.mac)


async def test_a_restored_backup_revives_no_challenge(
    challenges: RedisChallenges, hands: Hands, ledger: Ledger, redis: RedisProcess
) -> None:
    """Values of old are authentic; whether they are spent was never theirs to say."""
    spent, unspent = challenge(hands), challenge(hands)
    await challenges.put([spent, unspent], None, ())
    backup = dump(redis)
    assert await enrol(challenges, ledger, spent.mac)
    restore(redis, backup)
    assert await challenges.find("jamf", spent.mac) == spent
    assert not await enrol(challenges, ledger, spent.mac)
    assert await enrol(challenges, ledger, unspent.mac)
    assert len(list(ledger.entries())) == 2


async def test_a_restored_backup_gives_no_uses_back(
    challenges: RedisChallenges, hands: Hands, ledger: Ledger, redis: RedisProcess
) -> None:
    three = challenge(hands, uses=3)
    await challenges.put([three], None, ())
    backup = dump(redis)
    results = []
    for _ in range(6):
        results.append(await enrol(challenges, ledger, three.mac))
        restore(redis, backup)
    assert results == [True] * 3 + [False] * 3


async def test_a_restored_backup_does_not_outlive_its_expiry(
    challenges: RedisChallenges, hands: Hands, redis: RedisProcess
) -> None:
    """The value says itself when it ends; that Redis would keep it for ever changes nothing."""
    one = challenge(hands)
    await challenges.put([one], None, ())
    restore(redis, dump(redis))
    hands.go_on(hours=2)
    found = await challenges.find("jamf", one.mac)
    assert isinstance(found, OpenChallenge)
    assert found.expires_at < hands.utc
    assert await challenges.unspent("jamf") == 0


async def test_a_crash_that_loses_the_last_second_loses_only_challenges(
    store: Store, hands: Hands, ledger: Ledger
) -> None:
    """appendfsync everysec: after kill -9 the log's end is missing, as after a power failure or a failover."""
    with RedisProcess(*APPEND) as process:
        challenges = store(url=process.url)
        early, late = challenge(hands), challenge(hands)
        await challenges.put([early], None, ())
        log = process.folder / "appendonlydir"
        before = process.folder / "before"
        shutil.copytree(log, before)
        assert await enrol(challenges, ledger, early.mac)
        await challenges.put([late], None, ())
        process.end(signal.SIGKILL)
        shutil.rmtree(log)
        shutil.copytree(before, log)
        process.start()
        assert await challenges.find("jamf", early.mac) == early  # its removal is what was lost
        assert not await enrol(challenges, ledger, early.mac)
        assert await challenges.find("jamf", late.mac) is None
        assert not await enrol(challenges, ledger, late.mac)
        assert len(list(ledger.entries())) == 1


async def test_a_crash_keeps_what_reached_the_log(store: Store, hands: Hands, ledger: Ledger) -> None:
    with RedisProcess("--appendonly", "yes", "--appendfsync", "always") as process:
        challenges, one = store(url=process.url), challenge(hands)
        await challenges.put([one], None, ())
        process.end(signal.SIGKILL)
        process.start()
        assert await enrol(challenges, ledger, one.mac)


async def test_nothing_is_accepted_twice_while_redis_evicts(store: Store, hands: Hands, ledger: Ledger) -> None:
    """F19: memory for a part of what is minted, any key may go, also the counts; every challenge is tried thrice."""
    with RedisProcess("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru") as process:
        challenges = store(url=process.url)
        minted = [challenge(hands, sealed="s" * 4000) for _ in range(600)]
        for start in range(0, len(minted), 20):
            await challenges.put(minted[start : start + 20], None, ())
        results: Counter[bytes] = Counter()

        async def device(one: OpenChallenge) -> None:
            for _ in range(3):
                with contextlib.suppress(Fault):  # 503: its clients and their buffers fill the memory as well
                    results[one.mac] += await enrol(challenges, ledger, one.mac)
                    await challenges.put([challenge(hands, sealed="s" * 4000)], None, ())

        for start in range(0, len(minted), 50):
            await asyncio.gather(*(device(one) for one in minted[start : start + 50]))
        evicted = process.ask("INFO", "stats")
        assert isinstance(evicted, bytes)
        assert b"evicted_keys:0\r" not in evicted
        assert set(results.values()) <= {0, 1}
        assert 0 < results.total() < len(minted)
        assert len(list(ledger.entries())) == results.total()
