"""Challenges in a real Redis: what comes back, what is counted, and what a forger of values gets."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from datetime import timedelta

import pytest

from scep_server.cache import RedisChallenges
from scep_server.cache.challenges import PIECE
from scep_server.cache.values import TAG_BYTES, _tag, pack
from scep_server.errors import ChallengesFull, Fault
from scep_server.keyfile import SecretKeyFile
from scep_server.ledger import Ledger
from scep_server.types import NameBinding, OpenChallenge
from tests.cache.conftest import Hands, Store
from tests.contracts.ledger_contract import kinds, told
from tests.e2e.redis_server import RedisProcess

BOUND = NameBinding('CN=a\0b,O="\ud800"', ("dns:a.example", "upn:b@c"), ("device 1",))
DAY_MS = 86_400_000


@pytest.fixture
def challenges(store: Store, redis: RedisProcess) -> RedisChallenges:
    return store(url=redis.url)


def challenge(hands: Hands, **changes: object) -> OpenChallenge:
    """One that is open for an hour; changes replace fields."""
    usual = OpenChallenge("jamf", os.urandom(32), hands.utc, hands.utc + timedelta(hours=1))
    return dataclasses.replace(usual, **changes)


def keys_of(redis: RedisProcess, kind: str) -> list[bytes]:
    found = redis.ask("KEYS", f"scep:*:{kind}*")
    assert isinstance(found, list)
    return sorted(found)


async def test_a_challenge_comes_back_as_it_was_put(challenges: RedisChallenges, hands: Hands, ledger: Ledger) -> None:
    plain = challenge(hands)
    bound = challenge(hands, uses=65536, binding=BOUND, sealed="token", lookups=(b"l",))
    only_sans = challenge(hands, binding=NameBinding(sans=()))
    await challenges.put([plain, bound, only_sans], None, told("challenge.minted"))
    assert await challenges.find("jamf", plain.mac) == plain
    assert await challenges.find("jamf", bound.mac) == dataclasses.replace(bound, lookups=())
    assert await challenges.find("jamf", only_sans.mac) == only_sans
    assert kinds(ledger) == ["challenge.minted"]


async def test_another_integration_or_another_mac_finds_nothing(challenges: RedisChallenges, hands: Hands) -> None:
    one = challenge(hands)
    await challenges.put([one], None, ())
    assert await challenges.find("intune", one.mac) is None
    assert await challenges.find("jamf", os.urandom(32)) is None
    assert (await challenges.unspent("jamf"), await challenges.unspent("intune")) == (1, 0)


async def test_hostile_integration_names_are_kept_apart(challenges: RedisChallenges, hands: Hands) -> None:
    names = ["", "}", "{a}", "a:open", "*", "a\0", "ä"]
    for name in names:
        await challenges.put([challenge(hands, integration=name)], 1, ())
    assert [await challenges.unspent(name) for name in names] == [1] * len(names)


async def test_redis_learns_neither_names_nor_anything_that_enrols(
    challenges: RedisChallenges, hands: Hands, redis: RedisProcess
) -> None:
    await challenges.put([challenge(hands)], None, ())
    assert all(b"jamf" not in key for key in keys_of(redis, ""))


async def test_a_challenge_found_in_the_ledger_still_counts(
    challenges: RedisChallenges, hands: Hands, ledger: Ledger
) -> None:
    """Minted before Redis was configured."""
    older = challenge(hands)
    await ledger.challenges.put([older], None, ())
    assert await challenges.find("jamf", older.mac) == older


async def test_a_sealed_one_found_in_the_ledger_still_counts(
    challenges: RedisChallenges, hands: Hands, ledger: Ledger
) -> None:
    older, newer = (
        challenge(hands, minted_at=hands.utc - timedelta(minutes=age), sealed="s", lookups=(b"l",)) for age in (2, 1)
    )
    await ledger.challenges.put([older], None, ())
    assert [each.mac for each in await challenges.sealed("jamf", b"l")] == [older.mac]
    await challenges.put([newer], None, ())
    assert [each.mac for each in await challenges.sealed("jamf", b"l")] == [newer.mac, older.mac]
    await challenges.put([challenge(hands, sealed="s", lookups=(b"l",))], None, ())
    assert older.mac not in [each.mac for each in await challenges.sealed("jamf", b"l")]


async def test_those_left_in_the_ledger_are_counted_and_forgotten_too(
    challenges: RedisChallenges, hands: Hands, ledger: Ledger
) -> None:
    left = challenge(hands)
    await ledger.challenges.put([left], None, ())
    await challenges.put([challenge(hands)], None, ())
    assert await challenges.expire(left.expires_at) == 2
    assert await challenges.expire(left.expires_at + timedelta(days=1)) == 0
    assert await ledger.challenges.find("jamf", left.mac) is None


async def test_an_expired_one_is_found_for_a_day(
    challenges: RedisChallenges, hands: Hands, redis: RedisProcess
) -> None:
    expired = challenge(hands, expires_at=hands.utc - timedelta(minutes=5))
    old = challenge(hands, expires_at=hands.utc - timedelta(days=2))
    await challenges.put([expired], None, ())
    assert await challenges.find("jamf", expired.mac) == expired
    (key,) = keys_of(redis, "challenge")
    left = redis.ask("PTTL", key)
    assert isinstance(left, int)
    assert DAY_MS - 400_000 < left <= DAY_MS - 300_000
    await challenges.put([old], None, ())
    assert await challenges.unspent("jamf") == 0


async def test_what_is_kept_goes_away_by_itself(challenges: RedisChallenges, hands: Hands, redis: RedisProcess) -> None:
    """No key outlives its last challenge by more than a day, and none goes before."""
    late = challenge(hands, expires_at=hands.utc + timedelta(days=3), lookups=(b"l",), sealed="s")
    soon = challenge(hands, lookups=(b"l",), sealed="s")
    await challenges.put([late], None, ())
    await challenges.put([soon], None, ())
    lifetimes = {key: redis.ask("PTTL", key) for key in keys_of(redis, "")}
    (listed,) = [key for key in lifetimes if key.endswith(b":integrations")]
    assert lifetimes.pop(listed) == -1
    assert len(lifetimes) == 4
    hours = sorted(round(int(str(left)) / 3_600_000) for left in lifetimes.values())
    assert hours == [25, 96, 96, 96]


async def test_ceiling_counts_what_is_open_in_this_integration(
    challenges: RedisChallenges, hands: Hands, ledger: Ledger
) -> None:
    await challenges.put([challenge(hands, expires_at=hands.utc - timedelta(hours=1))], None, ())
    await challenges.put([challenge(hands, integration="intune")], None, ())
    kept = [challenge(hands) for _ in range(3)]
    await challenges.put(kept, 3, ())
    with pytest.raises(ChallengesFull, match="jamf has as many unspent challenges as its ceiling allows: 3"):
        await challenges.put([challenge(hands)], 3, told("challenge.minted"))
    assert (await challenges.unspent("jamf"), await challenges.unspent("intune")) == (3, 1)
    await challenges.forget("jamf", [kept[0].mac])
    with pytest.raises(ChallengesFull):
        await challenges.put([challenge(hands), challenge(hands)], 3, ())
    await challenges.put([challenge(hands)], 3, ())
    assert kinds(ledger) == []


async def test_parallel_minters_never_pass_the_ceiling(
    store: Store, hands: Hands, ledger: Ledger, redis: RedisProcess
) -> None:
    sides = [store(url=redis.url), store(url=redis.url)]
    work = (sides[n % 2].put([challenge(hands), challenge(hands)], 15, told("minted")) for n in range(40))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [ChallengesFull] * 33
    assert await sides[0].unspent("jamf") == 14
    # Each that was recorded and then found no room says so afterwards.
    assert kinds(ledger).count("minted") - kinds(ledger).count("challenge.not_kept") == 7


async def test_all_are_kept_or_none(challenges: RedisChallenges, hands: Hands, ledger: Ledger) -> None:
    first, new = challenge(hands), challenge(hands)
    await challenges.put([first], None, ())
    with pytest.raises(Fault):
        await challenges.put([new, first], None, told("challenge.minted"))
    assert await challenges.find("jamf", new.mac) is None
    assert await challenges.unspent("jamf") == 1
    assert kinds(ledger) == ["challenge.minted", "challenge.not_kept"]


async def test_a_large_order_is_kept_in_pieces_or_not_at_all(
    challenges: RedisChallenges, hands: Hands, redis: RedisProcess
) -> None:
    first, later = challenge(hands), [challenge(hands, lookups=(b"l",), sealed="s") for _ in range(2 * PIECE)]
    await challenges.put([first], None, ())
    with pytest.raises(Fault):
        await challenges.put([*later, first], None, ())  # a MAC that is there already
    assert (await challenges.unspent("jamf"), len(keys_of(redis, "challenge"))) == (1, 1)
    assert await challenges.sealed("jamf", b"l") == []
    with pytest.raises(ChallengesFull):
        await challenges.put(later, 2 * PIECE, ())
    await challenges.put(later, 2 * PIECE + 1, ())
    assert (await challenges.unspent("jamf"), len(keys_of(redis, "challenge"))) == (2 * PIECE + 1,) * 2


async def test_a_large_order_passes_no_ceiling_while_others_mint(
    store: Store, hands: Hands, redis: RedisProcess
) -> None:
    """Others take the room between two pieces; who comes too late takes back what it had put there."""
    sides = [store(url=redis.url), store(url=redis.url)]
    work = (sides[n % 2].put([challenge(hands) for _ in range(2 * PIECE)], 3 * PIECE, ()) for n in range(6))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert {type(result) for result in results if result is not None} == {ChallengesFull}
    assert await sides[0].unspent("jamf") == 2 * PIECE * results.count(None) <= 2 * PIECE


async def test_sealed_ones_are_found_by_lookup_the_newest_two(challenges: RedisChallenges, hands: Hands) -> None:
    minted = [hands.utc - timedelta(minutes=number) for number in range(4)]
    kept = [challenge(hands, minted_at=at, sealed="s", lookups=(b"subject", at.isoformat().encode())) for at in minted]
    newest = hands.utc + timedelta(minutes=1)
    unfit = [
        challenge(hands, minted_at=newest, sealed="", lookups=(b"subject",)),
        challenge(hands, minted_at=newest, sealed="s", expires_at=hands.utc, lookups=(b"subject",)),
    ]
    await challenges.put([*reversed(kept), *unfit], None, ())
    await challenges.put([challenge(hands, sealed="s", integration="intune", lookups=(b"subject",))], None, ())
    found = await challenges.sealed("jamf", b"subject")
    assert found == [dataclasses.replace(each, lookups=()) for each in kept[:2]]
    await challenges.forget("jamf", [kept[0].mac])
    assert [each.mac for each in await challenges.sealed("jamf", b"subject")] == [kept[1].mac, kept[2].mac]
    last = await challenges.sealed("jamf", minted[3].isoformat().encode())
    assert [each.mac for each in last] == [kept[3].mac]
    assert await challenges.sealed("jamf", b"nobody's") == []


async def test_forgetting_leaves_nothing_behind(challenges: RedisChallenges, hands: Hands, redis: RedisProcess) -> None:
    one = challenge(hands, sealed="s", lookups=(b"a", b"b"))
    await challenges.put([one], None, ())
    await challenges.forget("jamf", [one.mac, os.urandom(32)])
    assert [key.rsplit(b":", 1)[-1] for key in keys_of(redis, "")] == [b"integrations"]


async def test_expired_ones_are_counted_once_over_all_processes(
    store: Store, hands: Hands, redis: RedisProcess
) -> None:
    first, second = store(url=redis.url), store(url=redis.url)
    kept = [challenge(hands) for _ in range(30)]
    await first.put([*kept, challenge(hands, expires_at=hands.utc + timedelta(days=3))], None, ())
    await second.put([challenge(hands, integration="intune")], None, ())
    await first.forget("jamf", [kept[0].mac])
    assert await first.expire(hands.utc) == 0
    end = kept[-1].expires_at
    counted = await asyncio.gather(*(each.expire(end) for each in (first, second)))
    assert sum(counted) == 30
    assert await second.expire(end + timedelta(hours=1)) == 0
    assert await first.unspent("jamf") == 1


async def test_two_ledgers_may_share_a_redis(challenges: RedisChallenges, hands: Hands, store: Store) -> None:
    """Each has its own key file, so each has its own names for everything."""
    other = RedisChallenges(
        challenges._server,
        SecretKeyFile(os.urandom(32)),
        clock=hands.now,
        elsewhere=challenges._elsewhere,
        record=challenges._record,
    )
    one = challenge(hands)
    await challenges.put([one], None, ())
    assert await other.find("jamf", one.mac) is None
    assert (await other.unspent("jamf"), await other.expire(hands.utc + timedelta(days=1))) == (0, 0)


async def test_what_a_newer_program_bound_is_not_let_through(
    challenges: RedisChallenges, hands: Hands, redis: RedisProcess, keys: SecretKeyFile, ledger: Ledger
) -> None:
    """Two versions may serve side by side; the older one cannot hold a name against what it does not know."""
    one = challenge(hands)
    await challenges.put([one], None, ())
    (key,) = keys_of(redis, "challenge")
    body = pack(one, keys)[TAG_BYTES:-1] + b',"countries":["NL"]}'
    redis.ask("SET", key, _tag(one.integration, one.mac, body, keys) + body)
    with pytest.raises(Fault, match="does not know: countries"):
        await challenges.find("jamf", one.mac)
    assert kinds(ledger) == []


class TestForgedValues:
    """Whoever can write to Redis cannot mint, nor change what was minted."""

    async def test_a_changed_value_is_as_good_as_absent_and_is_reported(
        self, challenges: RedisChallenges, hands: Hands, redis: RedisProcess, ledger: Ledger
    ) -> None:
        one = challenge(hands, uses=1, binding=NameBinding("CN=a"))
        await challenges.put([one], None, ())
        (key,) = keys_of(redis, "challenge")
        value = redis.ask("GET", key)
        assert isinstance(value, bytes)
        changed = [
            value.replace(b'"uses":1', b'"uses":9'),
            value.replace(b"CN=a", b"CN=b"),
            value.replace(str(one.expires_at.year).encode(), b"2999"),
            value[32:],
            value[:32],
            b"",
            b"\xff" * 100,
            bytes([value[0] ^ 1]) + value[1:],
        ]
        assert len({*changed, value}) == len(changed) + 1
        for forged in changed:
            redis.ask("SET", key, forged)
            assert await challenges.find("jamf", one.mac) is None
        assert kinds(ledger) == ["challenge.forged"] * len(changed)
        redis.ask("SET", key, value)
        assert await challenges.find("jamf", one.mac) == one

    async def test_a_value_cannot_be_moved(
        self, challenges: RedisChallenges, hands: Hands, redis: RedisProcess, ledger: Ledger
    ) -> None:
        """Not to another challenge, nor to another integration."""
        loose, bound = challenge(hands), challenge(hands, binding=NameBinding("CN=a"))
        await challenges.put([loose], None, ())
        (loose_key,) = keys_of(redis, "challenge")
        await challenges.put([bound], None, ())
        (bound_key,) = set(keys_of(redis, "challenge")) - {loose_key}
        await challenges.put([challenge(hands, integration="loop")], None, ())  # as long a name
        (elsewhere,) = set(keys_of(redis, "challenge")) - {loose_key, bound_key}
        redis.ask("COPY", loose_key, bound_key, "REPLACE")
        assert await challenges.find("jamf", bound.mac) is None
        redis.ask("COPY", loose_key, elsewhere[: -len(loose.mac.hex())] + loose.mac.hex().encode())
        assert await challenges.find("loop", loose.mac) is None
        assert kinds(ledger) == ["challenge.forged"] * 2

    async def test_a_forged_lookup_finds_only_what_was_made_for_it(
        self, challenges: RedisChallenges, hands: Hands, redis: RedisProcess, ledger: Ledger
    ) -> None:
        one = challenge(hands, sealed="s", lookups=(b"mine",))
        other = challenge(hands, sealed="s", lookups=(b"other",))
        ended = challenge(hands, sealed="s", lookups=(b"mine",), expires_at=hands.utc - timedelta(seconds=1))
        await challenges.put([one, other, ended], None, ())
        (key,) = (key for key in keys_of(redis, "lookup") if key.endswith(b"mine".hex().encode()))
        redis.ask("ZADD", key, 10**15, other.mac)
        redis.ask("ZADD", key, 10**15, ended.mac)
        redis.ask("ZADD", key, 10**15, os.urandom(32))
        assert [each.mac for each in await challenges.sealed("jamf", b"mine")] == [one.mac]
