"""Background work of a serving process: each job on its own beat, and a job's fault never ends the beat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from scep_server.errors import ScepServerError
from scep_server.interfaces import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beat:
    """A job and the seconds between its runs."""

    name: str
    job: Job
    seconds: float


class Faults:
    """Runs work and survives its faults. A lasting one is logged when it begins and when it ends, not every time."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    async def outlive(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """One run; returns whatever became of it."""
        try:
            await work()
        except ScepServerError as error:
            self._complain(name, str(error))
        except Exception as error:  # noqa: BLE001 - a bug in one job must not silence the others
            self._complain(name, f"{type(error).__name__} (a bug)")
        else:
            if name in self._failing:
                self._failing.discard(name)
                log.info("%s works again", name)

    def _complain(self, name: str, text: str) -> None:
        if name not in self._failing:
            self._failing.add(name)
            log.error("%s failed and will be tried again: %s", name, text)


class Jobs:
    """Runs beats until stopped. A job in the middle of its work is finished, unless it waits for what does not come."""

    def __init__(self, beats: Sequence[Beat]) -> None:
        self._beats = beats
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._faults = Faults()

    def start(self) -> None:
        """Begin; the first runs come at once."""
        self._tasks = [asyncio.create_task(self._keep(beat), name=beat.name) for beat in self._beats]

    async def stop(self, grace: float) -> None:
        """No new runs; returns when the running ones ended, those that last longer than grace seconds by being cut."""
        self._stop.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace)
        for task in late:
            log.warning("%s was cut; the next start goes on with it", task.get_name())
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, beat: Beat) -> None:
        while not self._stop.is_set():
            await self._faults.outlive(beat.name, beat.job)
            try:
                await asyncio.wait_for(self._stop.wait(), beat.seconds)
            except TimeoutError:
                continue
