"""A server whose Redis goes away: one-time challenges are told to come back, all else goes on (F16, F17, F20)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device, rsa_key
from tests.e2e.outcomes import BAD_REQUEST, SUCCESS, outcome_of
from tests.e2e.polling import until
from tests.e2e.redis_link import Link
from tests.e2e.redis_server import RedisProcess
from tests.e2e.server import ScepServer

DEADLINE = 5.0
"""Seconds within which every request is answered, whatever Redis does."""


@dataclass
class Stage:
    """The server, its Redis, and the line between them."""

    server: ScepServer
    redis: RedisProcess
    link: Link
    url: str
    login: dict[str, str]

    def mint(self) -> str:
        return self.server.run("challenge", "mint", "once").stdout.strip()

    def request(self, name: str, challenge: str) -> bytes:
        return pkcs_req(Device.named(name, rsa_key(1)), self.server.ra, challenge, transaction_id=name)

    def page(self) -> wire.Answer:
        return wire.request("GET", f"{self.url}/mscep_admin/", headers=self.login)

    def keys(self, kind: str) -> list[bytes]:
        """Keys in Redis of this kind."""
        found = self.redis.ask("KEYS", f"scep:*{kind}*")
        assert isinstance(found, list)
        return found

    def counted(self, sample: str) -> float:
        lines = wire.request("GET", self.admin("metrics")).body.decode().splitlines()
        return float(next(line for line in lines if line.startswith(sample)).rpartition(" ")[2])

    def admin(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.admin_port}/{path}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A running server with an integration `once`, whose Redis keeps nothing over a restart."""
    with RedisProcess() as redis, Link(redis.port) as link:
        environment = {"SCEP_SERVER_REDIS__URL": link.url}
        with ScepServer(tmp_path_factory.mktemp("redis") / "data", "p256", environment=environment) as server:
            added = json.loads(server.run("integration", "add", "once", "--challenge", "dynamic", "--json").stdout)
            server.await_integration(added["scep_url"])
            login = base64.b64encode(f"{added['username']}:{added['password']}".encode()).decode()
            yield Stage(server, redis, link, added["scep_url"], {"Authorization": f"Basic {login}"})


def assert_come_back(answer: wire.Answer) -> None:
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1


def test_redis_that_is_down_delays_challenges_and_nothing_else(stage: Stage) -> None:
    server, spent, unspent = stage.server, stage.mint(), stage.mint()
    first = outcome_of(wire.post(stage.url, stage.request("first", spent)))
    assert first.short == SUCCESS
    before = stage.counted('scep_server_faults_total{part="cache"}')
    stage.redis.end()
    stage.link.cut()

    for name, challenge in (("late", unspent), ("guess", "0" * 32), ("thief", spent)):
        assert_come_back(wire.post(stage.url, stage.request(name, challenge)))
    assert_come_back(stage.page())
    assert stage.counted('scep_server_faults_total{part="cache"}') > before
    # The entry is in the ledger: who asks again for a lost reply needs no Redis.
    assert outcome_of(wire.post(stage.url, stage.request("first", spent))).short == SUCCESS
    fixed = pkcs_req(Device.named("fixed", rsa_key(1)), server.ra, server.secret)
    assert outcome_of(wire.post(server.url, fixed)).short == SUCCESS
    assert [wire.get(stage.url, operation).status for operation in ("GetCACaps", "GetCACert")] == [200, 200]
    assert wire.request("GET", stage.admin("readyz")).status == 200

    stage.redis.start()
    until(lambda: stage.page().status == 200, 10)
    for name, challenge in (("late", unspent), ("thief", spent)):
        assert outcome_of(wire.post(stage.url, stage.request(name, challenge))).short == BAD_REQUEST
    assert outcome_of(wire.post(stage.url, stage.request("new", stage.mint()))).short == SUCCESS
    issued = [row["subject"] for row in server.certificates() if row["integration"] == "once"]
    assert sorted(issued) == ["CN=first,O=Example", "CN=new,O=Example"]


def test_redis_forgets_a_challenge_of_two_uses_after_the_second(stage: Stage) -> None:
    """Or it would count as unspent, for a ceiling and at last as expired."""
    challenge = stage.server.run("challenge", "mint", "once", "--uses", "2").stdout.strip()
    kept = len(stage.keys(":challenge:"))
    assert outcome_of(wire.post(stage.url, stage.request("one-of-two", challenge))).short == SUCCESS
    assert len(stage.keys(":challenge:")) == kept
    assert outcome_of(wire.post(stage.url, stage.request("two-of-two", challenge))).short == SUCCESS
    until(lambda: len(stage.keys(":challenge:")) == kept - 1)


def test_redis_that_is_slow_keeps_nobody_waiting(stage: Stage) -> None:
    """F20: slower than its limit, for many at once; then it is left alone, and served from again when it is quick."""
    challenge = stage.mint()
    bodies = [stage.request(f"slow-{number}", challenge) for number in range(40)]
    stage.link.seconds = 1.0

    def timed(body: bytes) -> float:
        begun = time.monotonic()
        assert_come_back(wire.post(stage.url, body))
        return time.monotonic() - begun

    with ThreadPoolExecutor(20) as clients:
        assert max(clients.map(timed, bodies)) < DEADLINE
    stage.link.seconds = 0
    until(lambda: wire.post(stage.url, bodies[0]).status == 200, 10)
    assert outcome_of(wire.post(stage.url, bodies[0])).short == SUCCESS


def test_redis_shows_what_expired_and_the_server_counts_it(stage: Stage) -> None:
    """At its start, and each minute."""
    stage.mint()
    (unspent,) = stage.keys(":open")
    stage.redis.ask("ZADD", unspent, 1, "a challenge that ended in 1970")
    assert stage.server.stop() == 0
    stage.server.start()
    until(lambda: stage.counted('scep_server_challenges_total{event="expired"}') == 1)
