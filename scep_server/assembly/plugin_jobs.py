"""Background work of integrations: pulled revocations, plugins' own jobs, the outbox. One process at a time runs each.

Every process's first worker looks each second; two leases in the ledger decide. `due:` is held until the next run is
wanted, so that the pace is kept by all processes together; `run:` is held while the work lasts, which a command that
does the same work by hand takes as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scep_server.assembly.jobs import Faults
from scep_server.errors import ConfigurationError, ScepServerError
from scep_server.interfaces import Leases

RUN_SECONDS: Final = 30.0
"""A run's lease, prolonged while the work lasts: what a process that died was at is soon another's. Where the ledger
cannot be reached for longer, another process may begin the same work too, so every job is repeatable.
"""
PROLONG_SECONDS: Final = 10.0
INSTANT: Final = timedelta(seconds=1)
"""A run as short as this ends when it began, so that its turn need not be prolonged."""


def holder() -> str:
    """A name for this process, unlike any other's."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do every so many seconds."""

    name: str
    """Unique: integration and job."""
    seconds: float
    run: Callable[[], Awaitable[object]]


class PluginJobs:
    """Starts what is due. Each run is a task of its own, so that a slow service holds up nobody else's work."""

    def __init__(
        self, leases: Leases, wanted: Callable[[], Sequence[Work]], clock: Callable[[], datetime], name: str
    ) -> None:
        self._leases = leases
        self._wanted = wanted
        self._clock = clock
        self._holder = name
        self._running: dict[str, asyncio.Task[None]] = {}
        self._next: dict[str, datetime] = {}
        self._faults = Faults()

    async def look(self) -> None:
        """Start what is due and not running here."""
        now = self._clock()
        wanted = {work.name: work for work in self._wanted()}
        for name in [name for name in self._next if name not in wanted]:
            del self._next[name]
        for work in wanted.values():
            if work.name in self._running or self._next.get(work.name, now) > now:
                continue
            self._next[work.name] = now + timedelta(seconds=work.seconds)
            task = asyncio.create_task(self._once(work), name=work.name)
            self._running[work.name] = task
            task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End what is running: every job can be repeated."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task.get_name(), None)

    async def _once(self, work: Work) -> None:
        began = self._clock()
        if not await self._take_turn(work):
            return
        await self._faults.outlive(work.name, functools.partial(self._alone, work))
        ended = self._clock()
        self._next[work.name] = ended + timedelta(seconds=work.seconds)
        if ended - began > INSTANT:
            await self._take_turn(work)

    async def _take_turn(self, work: Work) -> bool:
        """True: this process has the turn, until the next one is due."""
        taken: list[Work] = []

        async def take() -> None:
            now = self._clock()
            # A second less than the pace: the holder itself comes back in time.
            until = now + timedelta(seconds=max(1.0, work.seconds - 1.0))
            if await self._leases.lease(f"due:{work.name}", self._holder, now, until):
                taken.append(work)

        # Apart, or a turn that another process took would be told as a success.
        await self._faults.outlive(f"taking up {work.name}", take)
        return bool(taken)

    async def _alone(self, work: Work) -> None:
        async with exclusive(self._leases, work.name, self._holder, self._clock) as mine:
            if mine:
                await work.run()


@asynccontextmanager
async def exclusive(leases: Leases, name: str, holding: str, clock: Callable[[], datetime]) -> AsyncIterator[bool]:
    """True inside while no other process does this work; False when one does."""

    async def take() -> bool:
        now = clock()
        return await leases.lease(f"run:{name}", holding, now, now + timedelta(seconds=RUN_SECONDS))

    if not await take():
        yield False
        return
    prolonging = asyncio.create_task(_again_and_again(take))
    try:
        yield True
    finally:
        prolonging.cancel()
        await asyncio.gather(prolonging, return_exceptions=True)
        await leases.end_lease(f"run:{name}", holding)


async def _again_and_again(take: Callable[[], Awaitable[bool]]) -> None:
    while True:
        await asyncio.sleep(PROLONG_SECONDS)
        with contextlib.suppress(ScepServerError):
            await take()


async def by_hand(leases: Leases, work: Work, clock: Callable[[], datetime]) -> object:
    """The same work, once, for a command. ConfigurationError when another process is at it."""
    async with exclusive(leases, work.name, holder(), clock) as mine:
        if not mine:
            raise ConfigurationError(f"another process is doing this now ({work.name}); try again in a minute")
        return await work.run()
