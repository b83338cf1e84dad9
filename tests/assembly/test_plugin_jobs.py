"""Background work of integrations: due once for all processes together, done by one at a time, faults survived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scep_server.assembly import plugin_jobs
from scep_server.assembly.plugin_jobs import PluginJobs, Work
from scep_server.audit import AuditTrail
from scep_server.errors import PluginFault
from scep_server.interfaces import Leases
from scep_server.ledger import Ledger, open_ledger


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    heads = tmp_path / "audit"
    heads.mkdir(mode=0o700)
    made = open_ledger(f"sqlite:///{tmp_path}/ledger", initialise=True, audit=AuditTrail(b"k" * 32, heads))
    yield made
    made.close()


class Process:
    """One process's view of one piece of work."""

    def __init__(self, leases: Leases, name: str, clock: list[datetime]) -> None:
        self.runs = 0
        self.began = asyncio.Event()
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.jobs = PluginJobs(leases, lambda: [Work("corp/revocations", 60.0, self._work)], lambda: clock[0], name)

    async def _work(self) -> None:
        self.runs += 1
        self.began.set()
        await self.gate.wait()
        if self.fails:
            raise PluginFault("service is down")

    async def look(self) -> None:
        """One beat, and the end of what it started."""
        await self.jobs.look()
        await self.ended()

    async def look_and_leave(self) -> None:
        """One beat, and the beginning of the work that it started."""
        await self.jobs.look()
        await self.began.wait()

    async def ended(self) -> None:
        """The end of what is running."""
        await asyncio.gather(*self.jobs._running.values())


@pytest.fixture
def clock() -> list[datetime]:
    return [datetime(2026, 3, 1, tzinfo=UTC)]


async def test_work_keeps_its_pace_over_all_processes(ledger: Ledger, clock: list[datetime]) -> None:
    one, two = Process(ledger, "one", clock), Process(ledger, "two", clock)
    for _ in range(3):
        await one.look()
        await two.look()
    assert (one.runs, two.runs) == (1, 0)
    clock[0] += timedelta(seconds=61)
    await two.look()
    await one.look()
    assert (one.runs, two.runs) == (1, 1)


async def test_the_pace_is_from_the_end_of_a_run_to_the_next(ledger: Ledger, clock: list[datetime]) -> None:
    one, two = Process(ledger, "one", clock), Process(ledger, "two", clock)
    one.gate.clear()
    await one.look_and_leave()
    clock[0] += timedelta(seconds=90)
    one.gate.set()
    await one.ended()
    clock[0] += timedelta(seconds=55)
    await one.look()
    await two.look()
    assert (one.runs, two.runs) == (1, 0)
    clock[0] += timedelta(seconds=5)
    await one.look()
    assert one.runs == 2


async def test_work_of_a_process_that_died_is_taken_over(ledger: Ledger, clock: list[datetime]) -> None:
    one, two = Process(ledger, "one", clock), Process(ledger, "two", clock)
    one.gate.clear()
    await one.look_and_leave()
    clock[0] += timedelta(seconds=61)
    await two.look()
    assert two.runs == 1, "it is due, and one has not prolonged its lease for longer than that lasts"
    await one.jobs.stop()


class Watched:
    """The ledger's leases, and when the one on a run was last prolonged to."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.end_lease = ledger.end_lease
        self._until = datetime.min.replace(tzinfo=UTC)
        self._changed = asyncio.Condition()

    async def lease(self, name: str, holder: str, now: datetime, until: datetime) -> bool:
        taken = await self._ledger.lease(name, holder, now, until)
        if name.startswith("run:"):
            async with self._changed:
                self._until = until
                self._changed.notify_all()
        return taken

    async def lasts_until(self, at: datetime) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self._until >= at)


async def test_work_that_lasts_is_left_to_its_process(
    ledger: Ledger, clock: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_jobs, "PROLONG_SECONDS", 0.01)
    watched = Watched(ledger)
    one, two = Process(watched, "one", clock), Process(ledger, "two", clock)
    one.gate.clear()
    await one.look_and_leave()
    for _ in range(10):
        await watched.lasts_until(clock[0] + timedelta(seconds=30))
        clock[0] += timedelta(seconds=29)
        await two.look()
    assert (one.runs, two.runs) == (1, 0)
    one.gate.set()
    await one.ended()
    clock[0] += timedelta(seconds=61)
    await two.look()
    assert two.runs == 1, "and given back when it has ended"


async def test_a_fault_is_told_once_and_tried_again(
    ledger: Ledger, clock: list[datetime], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one = Process(ledger, "one", clock)
    one.fails = True
    for _ in range(3):
        await one.look()
        clock[0] += timedelta(seconds=61)
    one.fails = False
    await one.look()
    said = [record.getMessage() for record in caplog.records if record.name == "scep_server.assembly.jobs"]
    assert one.runs == 4
    assert said == [
        "corp/revocations failed and will be tried again: service is down",
        "corp/revocations works again",
    ]


async def test_work_that_is_running_is_not_begun_again(ledger: Ledger, clock: list[datetime]) -> None:
    one = Process(ledger, "one", clock)
    one.gate.clear()
    for _ in range(3):
        await one.jobs.look()
        clock[0] += timedelta(seconds=61)
    one.gate.set()
    await asyncio.gather(*one.jobs._running.values())
    assert one.runs == 1
