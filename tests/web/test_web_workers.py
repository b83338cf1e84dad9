"""Worker processes: one port, restarted when they die, ended without losing an answer (F23)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("worker_program.py")


class Program:
    """worker_program.py, running."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 15)).decode().strip()

    async def get(self, path: str = "/") -> str:
        """One request on a connection of its own; the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 15)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        return body.decode()

    async def worker_ids(self, count: int) -> set[int]:
        """Ask until this many workers answered."""
        found: set[int] = set()
        async with asyncio.timeout(15):
            while len(found) < count:
                found |= {int(body) for body in await asyncio.gather(*(self.get() for _ in range(8)))}
        return found


Start = Callable[..., Awaitable[Program]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    programs: list[Program] = []

    async def launch(*arguments: str, ready: bool = True, descriptors: int = 1024) -> Program:
        limited = f'ulimit -n {descriptors}; exec "$0" "$@"'
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", limited, sys.executable, str(PROGRAM), *arguments, stdout=asyncio.subprocess.PIPE
        )
        program = Program(process)
        programs.append(program)
        if ready:
            word, port, _ = (await program.line()).split()
            assert word == "ready"
            program.port = int(port)
        return program

    yield launch
    for program in programs:
        if program.process.returncode is None:
            program.process.kill()
        await program.process.communicate()


async def test_workers_share_a_port_and_their_counters(start: Start) -> None:
    program = await start("2")
    workers = await program.worker_ids(2)
    assert program.process.pid not in workers
    before = float(await program.get("/total"))
    await asyncio.gather(*(program.get() for _ in range(20)))
    assert float(await program.get("/total")) == before + 21


async def test_a_dead_worker_is_replaced_while_the_others_serve(start: Start) -> None:
    program = await start("2")
    workers = await program.worker_ids(2)
    victim = workers.pop()
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(15):
        while (found := await program.worker_ids(2)) & {victim}:
            pass
    assert workers < found
    assert program.process.returncode is None


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sigterm_finishes_what_is_in_flight(start: Start, workers: str) -> None:
    program = await start(workers)
    answers = [asyncio.create_task(program.get("/slow")) for _ in range(4)]
    for _ in answers:
        assert await program.line() == "slow"
    program.process.terminate()
    assert all(int(body) for body in await asyncio.gather(*answers))
    assert [await program.line() for _ in range(int(workers))] == ["stopped"] * int(workers)
    assert await program.line() == "ended"
    assert await asyncio.wait_for(program.process.wait(), 5) == 0
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", program.port)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sighup_reaches_every_worker_and_nobody_stops(start: Start, workers: str) -> None:
    program = await start(workers)
    ids = await program.worker_ids(int(workers))
    program.process.send_signal(signal.SIGHUP)
    reloaded: set[int] = set()
    async with asyncio.timeout(15):
        while reloaded != ids:
            worker, reloads = (await program.get("/reloads")).split()
            if reloads == "1":
                reloaded.add(int(worker))


@pytest.mark.parametrize(("workers", "refusing"), [("1", "0"), ("2", "1")])
async def test_a_server_that_cannot_start_says_why_and_leaves_nothing_behind(
    start: Start, workers: str, refusing: str
) -> None:
    program = await start(workers, "refuse", refusing, ready=False)
    lines = []
    while line := await program.line():
        lines.append(line)
    assert lines[-1] == "refused server.listen: not today"
    assert await program.process.wait() == 3


async def test_workers_end_when_their_parent_is_killed(start: Start) -> None:
    program = await start("2")
    await program.worker_ids(2)
    program.process.kill()
    assert [await program.line(), await program.line()] == ["stopped", "stopped"]
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", program.port)


@pytest.mark.parametrize(
    "held", [b"", b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n0"]
)
async def test_few_descriptors_and_many_silent_clients_leave_room_for_good_ones(start: Start, held: bytes) -> None:
    program = await start("1", descriptors=90)
    silent = [await asyncio.open_connection("127.0.0.1", program.port) for _ in range(300)]
    for _, writer in silent:
        writer.write(held)
    for _ in range(20):
        assert int(await program.get()) == program.process.pid
    for _, writer in silent:
        writer.close()
