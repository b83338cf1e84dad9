"""A real Redis and a real ledger on SQLite, with RedisChallenges between them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scep_server.audit import AuditTrail, Unmirrored
from scep_server.cache import RedisChallenges, RedisServer, connect
from scep_server.config import RedisSettings
from scep_server.keyfile import SecretKeyFile
from scep_server.ledger import Ledger, open_ledger
from tests.contracts.ledger_contract import AUDIT_KEY
from tests.e2e.redis_server import RedisProcess

PATIENCE_MS = 5000
"""For tests of anything but time: this machine may be busy."""

Connect = Callable[..., RedisServer]


class Hands:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.utc = datetime.now(UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.utc

    def monotonic(self) -> float:
        return self.seconds

    def go_on(self, **by: float) -> None:
        self.utc += timedelta(**by)
        self.seconds += timedelta(**by).total_seconds()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture(scope="session")
def keys() -> SecretKeyFile:
    return SecretKeyFile(bytes(range(32)))


@pytest.fixture(scope="session")
def running() -> Iterator[RedisProcess]:
    """One Redis for all tests that leave it as it is."""
    with RedisProcess() as process:
        yield process


@pytest.fixture
def redis(running: RedisProcess) -> RedisProcess:
    """The same, empty."""
    running.ask("FLUSHALL")
    return running


@pytest.fixture
async def connected(hands: Hands) -> AsyncIterator[Connect]:
    """Connects as settings say; closes at the end."""
    servers: list[RedisServer] = []

    def connect_one(**settings: object) -> RedisServer:
        usual: dict[str, object] = {"timeout_ms": PATIENCE_MS}
        servers.append(connect(RedisSettings.model_validate(usual | settings), clock=hands.monotonic))
        return servers[-1]

    yield connect_one
    for server in servers:
        await server.aclose()


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh ledger to copy: migrations once, not once a test."""
    folder = tmp_path_factory.mktemp("template")
    quiet = Unmirrored()
    path = folder / "ledger.sqlite3"
    open_ledger(f"sqlite:///{path}", initialise=True, audit=AuditTrail(AUDIT_KEY, folder / "heads", log=quiet)).close()
    return path


@pytest.fixture
def ledger(empty_ledger: Path, tmp_path: Path, hands: Hands) -> Iterator[Ledger]:
    shutil.copy(empty_ledger, tmp_path / "ledger.sqlite3")
    quiet = Unmirrored()
    trail = AuditTrail(AUDIT_KEY, tmp_path / "heads", log=quiet)
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", audit=trail, clock=hands.now)
    yield opened
    opened.close()


Store = Callable[..., RedisChallenges]


@pytest.fixture
def store(connected: Connect, ledger: Ledger, keys: SecretKeyFile, hands: Hands) -> Store:
    """RedisChallenges as the server wires it; settings name the Redis."""

    def build(**settings: object) -> RedisChallenges:
        server, elsewhere = connected(**settings), ledger.challenges
        return RedisChallenges(server, keys, clock=hands.now, elsewhere=elsewhere, record=ledger.record)

    return build
