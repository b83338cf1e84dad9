"""N17: a one-time challenge, presented at once by two hundred devices to three processes, gives one certificate."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization

from tests.bench.pool import PooledDevice, pool
from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.outcomes import BAD_REQUEST, SUCCESS, outcome_of
from tests.e2e.postgresql import PostgreSql
from tests.e2e.redis_server import RedisProcess
from tests.e2e.replies import read_reply
from tests.e2e.server import ScepServer

PARALLEL = 200
ROUNDS = int(os.environ.get("ONE_TIME_ROUNDS", "50"))
PROCESSES = 3
ENVIRONMENT = {
    # All at once is what is asked for; a worker would otherwise turn the 65th away with a 503.
    "SCEP_SERVER_SERVER__MAX_IN_FLIGHT": str(PARALLEL),
}
BUSY_TRIES = 50


@pytest.fixture(scope="module", params=["sqlite", "postgresql-redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    """Three worker processes over one ledger, with an integration `once` of one-time challenges."""
    folder = tmp_path_factory.mktemp("once")
    environment = dict(ENVIRONMENT)
    with ExitStack() as stack:
        if request.param == "postgresql-redis":
            environment["SCEP_SERVER_LEDGER__URL"] = stack.enter_context(PostgreSql()).create_database("once")
            environment["SCEP_SERVER_REDIS__URL"] = stack.enter_context(RedisProcess()).url
        made = ScepServer(folder / "data", "p256", arguments=("--workers", str(PROCESSES)), environment=environment)
        running = stack.enter_context(made)
        running.run("integration", "add", "once", "--challenge", "dynamic")
        running.await_integration(url_of(running))
        yield running


def url_of(server: ScepServer) -> str:
    return server.url.replace("/default", "/once")


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Sequence[PooledDevice]:
    """Two hundred keys, used again in every round."""
    return pool(PARALLEL, tmp_path_factory.mktemp("keys"))


def mint(server: ScepServer, count: int, *options: str) -> list[str]:
    return server.run("challenge", "mint", "once", "--count", str(count), *options).stdout.split()


def request_of(pooled: PooledDevice, ra: bytes, challenge: str) -> bytes:
    """One device's request. Loads the key here: this runs in a process of its own."""
    key = serialization.load_der_private_key(pooled.key, None, unsafe_skip_rsa_key_validation=True)
    device = Device(key, Device.named("x", key).subject, pooled.certificate)
    return pkcs_req(device, ra, challenge)


def said(body: bytes) -> tuple[str, int | None]:
    """What a verified CertRep says. In a process of its own too: each is a signature to verify."""
    reply = read_reply(body)
    return reply.status, reply.fail_info


async def send_all(url: str, bodies: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Every body at once, each on a connection of its own; a 503 is sent again, as a device does."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:

        async def send(body: bytes) -> tuple[int, bytes]:
            for _ in range(BUSY_TRIES):
                async with session.post(url, data=body, params={"operation": "PKIOperation"}) as answer:
                    status, content = answer.status, await answer.read()
                if status != 503:
                    break
            return status, content

        return await asyncio.gather(*(send(body) for body in bodies))


def test_one_time_challenge_gives_one_certificate(server: ScepServer, devices: Sequence[PooledDevice]) -> None:
    challenges, ra = mint(server, ROUNDS), server.ra
    assert len(set(challenges)) == ROUNDS
    with ProcessPoolExecutor(2) as processes:
        for challenge in challenges:
            jobs = [processes.submit(request_of, device, ra, challenge) for device in devices]
            answers = asyncio.run(send_all(url_of(server), [job.result() for job in jobs]))
            assert {status for status, _ in answers} == {200}
            outcomes = Counter(processes.map(said, [body for _, body in answers], chunksize=25))
            assert outcomes == {("SUCCESS", None): 1, ("FAILURE", 2): PARALLEL - 1}
    issued = [row for row in server.certificates() if row["integration"] == "once"]
    assert len(issued) == len({row["serial"] for row in issued}) == ROUNDS


@pytest.fixture(scope="module")
def ra(server: ScepServer) -> bytes:
    return server.ra


def enrol(server: ScepServer, ra: bytes, challenge: str, name: str, **options: object) -> wire.Answer:
    return wire.post(url_of(server), pkcs_req(Device.named(name), ra, challenge, **options))  # type: ignore[arg-type]


def test_one_time_challenge_survives_a_refusal_by_policy(server: ScepServer, ra: bytes) -> None:
    (challenge,) = mint(server, 1)
    assert outcome_of(enrol(server, ra, challenge, "")).short == BAD_REQUEST
    assert outcome_of(enrol(server, ra, challenge, "good-name")).short == SUCCESS


def test_one_time_challenge_answers_its_device_again(server: ScepServer, ra: bytes) -> None:
    """The reply was lost: the same request gets the same certificate, under its transaction id or a new one."""
    (challenge,) = mint(server, 1)
    device = Device.named("lost-reply")
    body = pkcs_req(device, ra, challenge, transaction_id="one")
    first = outcome_of(wire.post(url_of(server), body)).certrep.certificate(device)
    again = outcome_of(wire.post(url_of(server), body)).certrep.certificate(device)
    renamed = outcome_of(wire.post(url_of(server), pkcs_req(device, ra, challenge, transaction_id="two")))
    assert first == again == renamed.certrep.certificate(device)


def test_one_time_challenge_of_another_is_a_security_event(server: ScepServer, ra: bytes) -> None:
    (challenge,) = mint(server, 1)
    assert outcome_of(enrol(server, ra, challenge, "owner")).short == SUCCESS
    assert outcome_of(enrol(server, ra, challenge, "thief")).short == BAD_REQUEST
    lines = [line for line in server.stderr().splitlines() if '"challenge_spent"' in line]
    spent = [json.loads(line) for line in lines]
    assert spent
    assert all(event["security"] for event in spent)


def test_one_time_challenge_admits_the_names_it_was_minted_for(server: ScepServer, ra: bytes) -> None:
    (challenge,) = mint(server, 1, "--subject", "O=Example,CN=bound-1")
    assert outcome_of(enrol(server, ra, challenge, "bound-2")).short == BAD_REQUEST
    assert outcome_of(enrol(server, ra, challenge, "bound-1")).short == SUCCESS


def test_one_time_challenge_of_three_uses_has_three(server: ScepServer, ra: bytes) -> None:
    (challenge,) = mint(server, 1, "--uses", "3")
    outcomes = [outcome_of(enrol(server, ra, challenge, f"use-{number}")).short for number in range(4)]
    assert outcomes == [SUCCESS, SUCCESS, SUCCESS, BAD_REQUEST]


def test_one_time_challenge_is_nowhere_in_clear(server: ScepServer, ra: bytes, tmp_path: Path) -> None:
    (challenge,) = mint(server, 1)
    assert outcome_of(enrol(server, ra, challenge, "private")).short == SUCCESS
    written = [path.read_bytes() for path in server.data.rglob("*") if path.is_file()] + [server.log.read_bytes()]
    assert not any(challenge.encode() in content for content in written)
