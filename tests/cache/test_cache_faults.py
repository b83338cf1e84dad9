"""F16 and F20: whatever is wrong with Redis, a challenge is neither accepted nor refused, and nobody waits for long."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from scep_server.cache import RedisChallenges
from scep_server.cache.breaker import FAILURES, PROBE_SECONDS
from scep_server.cache.server import CALLS, _cause
from scep_server.errors import CacheUnavailable
from scep_server.ledger import Ledger
from scep_server.types import OpenChallenge
from tests.cache.conftest import Hands, Store
from tests.cache.test_cache_challenges import challenge, keys_of
from tests.contracts.ledger_contract import kinds, told
from tests.e2e.redis_link import Link
from tests.e2e.redis_server import RedisProcess

SOON_MS = 200
"""For tests of what does not answer."""


@pytest.fixture
def link(redis: RedisProcess) -> Iterator[Link]:
    with Link(redis.port) as opened:
        yield opened


@pytest.fixture
def own() -> Iterator[RedisProcess]:
    """A Redis that the test may ruin."""
    with RedisProcess() as process:
        yield process


async def everything_fails(
    challenges: RedisChallenges, hands: Hands, says: str, of: OpenChallenge | None = None
) -> None:
    """Each ability in turn; forget() alone keeps quiet."""
    one = of or challenge(hands)
    for attempt in (
        challenges.find("jamf", one.mac),
        challenges.put([one], 5, told("challenge.minted")),
        challenges.sealed("jamf", b"l"),
        challenges.unspent("jamf"),
        challenges.expire(hands.utc),
    ):
        with pytest.raises(CacheUnavailable, match=says):
            await attempt
    await challenges.forget("jamf", [one.mac])


class TestUnreachable:
    """Down, refused, silent, cut, talking nonsense."""

    async def test_nobody_listens(self, store: Store, hands: Hands, ledger: Ledger, own: RedisProcess) -> None:
        own.end()
        await everything_fails(store(url=own.url), hands, r"no connection \(Connection refused\)$|left alone")
        assert kinds(ledger) == []

    async def test_no_such_socket(self, store: Store, hands: Hands) -> None:
        await everything_fails(store(url="unix:///nowhere/redis.sock"), hands, "no connection|left alone")

    async def test_no_such_host(self, store: Store, hands: Hands) -> None:
        await everything_fails(store(url="redis://redis.invalid"), hands, "no connection|left alone")

    def test_nobody_listens_at_any_of_several_addresses(self) -> None:
        """What asyncio says of a name that has two addresses, as localhost has in most places."""
        both = "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] Connect call failed"
        assert _cause(OSError(both), 0.5) == "no connection (Connection refused)"

    async def test_it_hangs(self, store: Store, hands: Hands, own: RedisProcess) -> None:
        challenges = store(url=own.url, timeout_ms=SOON_MS)
        own.hold()
        await everything_fails(challenges, hands, "no answer within 200 ms|left alone")

    async def test_a_connection_that_is_cut_is_replaced(
        self, store: Store, hands: Hands, link: Link, own: RedisProcess
    ) -> None:
        """The server restarted: what was idle is found dead, and the first call does not pay for it."""
        challenges = store(url=link.url)
        link.lead_to(own.port)
        for _ in range(3):
            assert await challenges.unspent("jamf") == 0
            own.end()
            own.start()

    @pytest.mark.parametrize(
        "nonsense",
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\0" * 64,
            b":1\r\n",
            b"+OK\r\n",
            b"*2\r\n:1\r\n:2\r\n",
            b"$3\r\nabc\r\n",
        ],
        ids=["http", "zeros", "number", "text", "list", "bytes"],
    )
    async def test_it_talks_nonsense(self, store: Store, hands: Hands, link: Link, nonsense: bytes) -> None:
        """Never an acceptance, whatever it is taken for; and nothing but a Fault comes out."""
        challenges = store(url=link.url, timeout_ms=SOON_MS)
        one = challenge(hands)
        link.nonsense = nonsense
        for attempt in (
            challenges.find("jamf", one.mac),
            challenges.sealed("jamf", b"l"),
            challenges.unspent("jamf"),
            challenges.expire(hands.utc),
        ):
            try:
                answer = await attempt
            except CacheUnavailable:
                continue
            assert not isinstance(answer, type(one))
            assert answer in (None, [], 1)
        with pytest.raises(CacheUnavailable):
            await challenges.put([one], None, ())
        await challenges.forget("jamf", [one.mac])


class TestRefusing:
    """It answers, and says no."""

    async def test_out_of_memory(self, store: Store, hands: Hands, ledger: Ledger, own: RedisProcess) -> None:
        """What is there can be used up; what is not cannot be added, and is not on record."""
        challenges, kept = store(url=own.url), challenge(hands)
        await challenges.put([kept], None, ())
        own.ask("CONFIG", "SET", "maxmemory", "1")
        for _ in range(2 * FAILURES):
            with pytest.raises(CacheUnavailable, match="OOM"):
                await challenges.put([challenge(hands)], None, told("challenge.minted"))
        assert await challenges.find("jamf", kept.mac) == kept
        assert kinds(ledger) == []

    async def test_a_put_that_runs_out_of_memory_keeps_none(
        self, store: Store, hands: Hands, ledger: Ledger, own: RedisProcess
    ) -> None:
        """Memory ends between the question whether there is room and the keeping."""
        challenges = store(url=own.url)
        record = challenges._record

        async def record_then_fill(events: object) -> None:
            own.ask("CONFIG", "SET", "maxmemory", "1")
            await record(events)  # type: ignore[arg-type]

        challenges._record = record_then_fill
        with pytest.raises(CacheUnavailable, match="OOM"):
            await challenges.put([challenge(hands) for _ in range(50)], None, told("challenge.minted"))
        assert keys_of(own, "challenge") == keys_of(own, "*open") == []
        assert kinds(ledger) == ["challenge.minted", "challenge.not_kept"]

    async def test_read_only_replica(self, store: Store, hands: Hands, own: RedisProcess, link: Link) -> None:
        """The next try looks the name up again, so an address that moved to the new master is followed."""
        challenges = store(url=link.url)
        link.lead_to(own.port)
        await challenges.put([challenge(hands)], None, ())
        own.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(CacheUnavailable, match="READONLY"):
            await challenges.put([challenge(hands)], None, ())
        with RedisProcess() as master:
            link.lead_to(master.port)
            await challenges.put([challenge(hands)], None, ())
            assert len(keys_of(master, "challenge")) == 1

    async def test_wrong_type(self, store: Store, hands: Hands, redis: RedisProcess, ledger: Ledger) -> None:
        challenges, one = store(url=redis.url), challenge(hands, sealed="s", lookups=(b"l",))
        await challenges.put([one], None, ())
        for key in keys_of(redis, ""):
            redis.ask("DEL", key)
            redis.ask("RPUSH", key, "x")
        await everything_fails(challenges, hands, "WRONGTYPE", one)
        assert await challenges.find("intune", one.mac) is None

    async def test_password_wanted(self, store: Store, hands: Hands) -> None:
        with RedisProcess("--requirepass", "right", admin=["right"]) as process:
            await everything_fails(store(url=process.url), hands, "not accepted|left alone")

    async def test_wrong_password(self, store: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_PASSWORD_OF_A_TEST", "hunter2")
        with RedisProcess("--requirepass", "right", admin=["right"]) as process:
            challenges = store(url=process.url, password_env="REDIS_PASSWORD_OF_A_TEST")
            await everything_fails(challenges, hands, "not accepted|left alone")

    async def test_a_server_that_repeats_the_password_is_not_repeated(
        self, store: Store, link: Link, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REDIS_PASSWORD_OF_A_TEST", "hunter2")
        challenges = store(url=link.url, password_env="REDIS_PASSWORD_OF_A_TEST")
        link.nonsense = b"-ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n"
        with pytest.raises(CacheUnavailable) as caught:
            await challenges.unspent("jamf")
        assert "hunter2" not in str(caught.value)
        assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)

    @pytest.mark.parametrize(
        ("reply", "says"),
        [
            (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
            (b"-CLUSTERDOWN Hash slot not served\r\n", "CLUSTERDOWN"),
            (b"-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN"),
            (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "MISCONF"),
            (b"-NOPERM this user has no permissions\r\n", "NOPERM"),
            (b"-NOAUTH Authentication required.\r\n", "not accepted"),
            (b"-ERR max number of clients reached\r\n", "."),
        ],
    )
    async def test_what_else_it_may_say(self, store: Store, hands: Hands, link: Link, reply: bytes, says: str) -> None:
        link.nonsense = reply
        await everything_fails(store(url=link.url), hands, f"{says}|left alone")


class TestSlow:
    """F20: too slow is the same as down, and found out once, not by everybody."""

    @pytest.fixture
    async def slow(self, store: Store, link: Link, hands: Hands) -> RedisChallenges:
        challenges = store(url=link.url, timeout_ms=SOON_MS)
        await challenges.put([challenge(hands, mac=b"kept")], None, ())
        link.seconds = 0.5
        return challenges

    async def test_the_breaker_opens_probes_and_closes(self, slow: RedisChallenges, hands: Hands, link: Link) -> None:
        for _ in range(FAILURES):
            with pytest.raises(CacheUnavailable, match="no answer within 200 ms"):
                await slow.find("jamf", b"kept")
        answers, began = link.answers, time.monotonic()
        for _ in range(200):
            with pytest.raises(CacheUnavailable, match="left alone") as caught:
                await slow.find("jamf", b"kept")
        assert caught.value.retry_after == PROBE_SECONDS
        assert time.monotonic() - began < 1.0  # 200 time-outs would be 40 s

        hands.go_on(seconds=PROBE_SECONDS)
        with pytest.raises(CacheUnavailable, match="no answer"):
            await slow.find("jamf", b"kept")
        with pytest.raises(CacheUnavailable, match="left alone"):
            await slow.find("jamf", b"kept")
        assert link.answers <= answers + FAILURES + 1

        link.seconds = 0
        hands.go_on(seconds=PROBE_SECONDS)
        assert await slow.find("jamf", b"kept") is not None
        assert await slow.unspent("jamf") == 1

    async def test_many_at_once_wait_no_longer_than_one(self, slow: RedisChallenges) -> None:
        """More than there are connections: those who wait for one have the same time limit."""
        began = time.monotonic()
        results = await asyncio.gather(*(slow.find("jamf", b"kept") for _ in range(400)), return_exceptions=True)
        assert {type(result) for result in results} == {CacheUnavailable}
        assert time.monotonic() - began < 1.0

    async def test_a_crowd_is_not_taken_for_a_slow_server(self, store: Store, hands: Hands, link: Link) -> None:
        """Those at the end of the queue run out of time; the next one by itself has all of it."""
        challenges, one = store(url=link.url, timeout_ms=500), challenge(hands)
        await challenges.put([one], None, ())
        link.seconds = 0.3
        results = await asyncio.gather(
            *(challenges.find("jamf", one.mac) for _ in range(3 * CALLS)), return_exceptions=True
        )
        assert {type(result) for result in results} == {OpenChallenge, CacheUnavailable}
        assert await challenges.find("jamf", one.mac) == one

    async def test_forgetting_is_given_up_soon_and_opens_nothing(self, store: Store, hands: Hands, link: Link) -> None:
        """A Redis that is slow but within its limit goes on serving, though nothing can be tidied up."""
        challenges, one = store(url=link.url), challenge(hands)
        await challenges.put([one], None, ())
        link.seconds = 0.3
        began = time.monotonic()
        for _ in range(FAILURES + 1):
            await challenges.forget("jamf", [one.mac])
        assert time.monotonic() - began < 0.3 * (FAILURES + 1)
        link.seconds = 0
        assert await challenges.unspent("jamf") in (0, 1)

    async def test_a_late_answer_is_never_taken_for_another_challenges(
        self, store: Store, hands: Hands, link: Link
    ) -> None:
        """What was given up leaves its connection with an answer on the way."""
        challenges = store(url=link.url, timeout_ms=SOON_MS)
        one, other = challenge(hands), challenge(hands, expires_at=hands.utc + timedelta(hours=2))
        await challenges.put([one, other], None, ())
        for _ in range(FAILURES - 1):
            link.seconds = 0.24
            with pytest.raises(CacheUnavailable):
                await challenges.find("jamf", one.mac)
            link.seconds = 0
            assert await challenges.find("jamf", other.mac) == other
            assert await challenges.find("jamf", os.urandom(32)) is None

    async def test_a_caller_that_leaves_does_not_spoil_the_connection(
        self, store: Store, hands: Hands, link: Link
    ) -> None:
        challenges = store(url=link.url)
        one, other = challenge(hands), challenge(hands)
        await challenges.put([one, other], None, ())
        link.seconds = 0.05
        for _ in range(3):
            leaving = asyncio.create_task(challenges.find("jamf", one.mac))
            await asyncio.wait([leaving], timeout=0.01)
            leaving.cancel()
            assert await challenges.find("jamf", other.mac) == other
