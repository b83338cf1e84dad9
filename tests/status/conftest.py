"""A real CA, a ledger in memory, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.ca import CaSet, create_hierarchy, load_ca
from scep_server.status import CrlPublisher, CrlStore
from tests.status.memory_revocations import MemoryRevocations

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SHARDS = 2


@dataclass
class MovingClock:
    """Tells what a test set."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Bench:
    """One process: its publisher and store over a ledger that others may share."""

    ca: CaSet
    ledger: MemoryRevocations
    pool: Executor
    clock: MovingClock = field(default_factory=MovingClock)

    def __post_init__(self) -> None:
        self.issuer_id = self.ca.authority.issuer_id
        self.store = CrlStore(self.ledger, {self.issuer_id: SHARDS}, pool=self.pool, clock=self.clock)
        self.publisher = CrlPublisher(
            self.ledger, self.ca.authority, SHARDS, pool=self.pool, clock=self.clock, published=self.store.offer
        )

    def beside(self) -> Bench:
        """Another process on the same ledger, with a clock of its own."""
        return Bench(self.ca, self.ledger, self.pool, MovingClock(self.clock.now))


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CaSet:
    directory = tmp_path_factory.mktemp("status") / "ca"
    create_hierarchy(directory, b"correct horse", key_type="p256", crl_shards=SHARDS, clock=lambda: START)
    return load_ca(directory, b"correct horse", "http://ca.example", clock=lambda: START)


@pytest.fixture
def bench(ca: CaSet) -> Iterator[Bench]:
    with ThreadPoolExecutor(2) as pool:
        yield Bench(ca, MemoryRevocations(), pool)
