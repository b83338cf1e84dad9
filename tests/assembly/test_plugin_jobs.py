"""Background work of integrations: due once for all processes together, done by one at a time, faults survived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scep_server.assembly.plugin_jobs import PluginJobs, Work
from scep_server.audit import AuditTrail
from scep_server.errors import PluginFault
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

    def __init__(self, ledger: Ledger, name: str, clock: list[datetime]) -> None:
        self.runs = 0
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.jobs = PluginJobs(ledger, lambda: [Work("corp/revocations", 60.0, self._work)], lambda: clock[0], name)

    async def _work(self) -> None:
        self.runs += 1
        await self.gate.wait()
        if self.fails:
            raise PluginFault("service is down")

    async def look(self) -> None:
        """One beat, and the end of what it started."""
        await self.jobs.look()
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


async def test_work_of_a_process_that_died_is_taken_over(ledger: Ledger, clock: list[datetime]) -> None:
    one, two = Process(ledger, "one", clock), Process(ledger, "two", clock)
    one.gate.clear()
    await one.jobs.look()
    clock[0] += timedelta(seconds=120)
    await two.look()
    assert two.runs == 0, "one may still be at it"
    await one.jobs.stop()
    clock[0] += timedelta(seconds=700)
    await two.look()
    assert two.runs == 1


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
