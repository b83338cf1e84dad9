"""One-time challenges beside a static one: in the ledger on SQLite, and in Redis beside PostgreSQL.

Challenges are minted before the load begins, as an MDM does while it prepares a profile; what is timed is the enrolment
that spends one: a look at the open challenge and one row more in COMMIT 1.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.pool import CHALLENGE, PooledDevice
from tests.bench.run import Figures, measure
from tests.e2e.postgresql import PostgreSql
from tests.e2e.redis_server import RedisProcess
from tests.e2e.server import ScepServer

NAME = "one-time"


@dataclass(frozen=True)
class OneTime:
    """A server's integration of one-time challenges, as the load sees it."""

    server: ScepServer

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        return self.server.process

    @property
    def url(self) -> str:
        return self.server.url.replace("/default", f"/{NAME}")

    @property
    def ra(self) -> bytes:
        return self.server.ra


@contextmanager
def serving(place: Path, *, redis: bool, prefix: Sequence[str]) -> Iterator[ScepServer]:
    """One worker, RSA-2048 CA; on SQLite, or on PostgreSQL with unspent challenges in Redis."""
    environment = {}
    with ExitStack() as stack:
        if redis:
            environment["SCEP_SERVER_LEDGER__URL"] = stack.enter_context(PostgreSql()).create_database("bench")
            environment["SCEP_SERVER_REDIS__URL"] = stack.enter_context(RedisProcess()).url
        made = ScepServer(place / "data", "rsa2048", CHALLENGE, prefix=prefix, environment=environment)
        yield stack.enter_context(made)


def run_static(place: Path, devices: list[PooledDevice], prefix: Sequence[str], *, redis: bool) -> Figures:
    """The same server, asked with a static secret."""
    with serving(place, redis=redis, prefix=prefix) as server:
        return measure(server, server.ca_certificates()[1], devices)


def run_one_time(place: Path, devices: list[PooledDevice], prefix: Sequence[str], *, redis: bool) -> Figures:
    """A challenge for each device, minted beforehand."""
    with serving(place, redis=redis, prefix=prefix) as server:
        server.run("integration", "add", NAME, "--challenge", "dynamic")
        server.await_integration(OneTime(server).url)
        count = str(len(devices))
        challenges = server.run("challenge", "mint", NAME, "--count", count, timeout=300).stdout.split()
        return measure(OneTime(server), server.ca_certificates()[1], devices, challenges=challenges)


KINDS: dict[str, tuple[Callable[..., Figures], bool]] = {
    "static, SQLite": (run_static, False),
    "one-time, SQLite": (run_one_time, False),
    "static, PostgreSQL": (run_static, True),
    "one-time, PostgreSQL+Redis": (run_one_time, True),
}
