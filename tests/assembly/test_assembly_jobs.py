"""Background work ends with the server: what is under way in time, what hangs by being cut."""

from __future__ import annotations

import asyncio

from scep_server.assembly.jobs import Beat, Jobs


async def test_a_job_under_way_is_finished() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    finished: list[str] = []

    async def job() -> None:
        begun.set()
        await may_end.wait()
        finished.append("job")

    jobs = Jobs([Beat("job", job, 60.0)])
    jobs.start()
    await begun.wait()
    stopping = asyncio.create_task(jobs.stop(30.0))
    may_end.set()
    await stopping
    assert finished == ["job"]


async def test_a_job_that_hangs_is_cut() -> None:
    begun, cut = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.set()
            raise

    jobs = Jobs([Beat("job", job, 60.0)])
    jobs.start()
    await begun.wait()
    async with asyncio.timeout(10):
        await jobs.stop(0.05)
    assert cut.is_set()


async def test_nothing_started_stops_at_once() -> None:
    jobs = Jobs([])
    async with asyncio.timeout(10):
        await jobs.stop(30.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
