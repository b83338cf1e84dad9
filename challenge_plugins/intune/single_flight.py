"""Lets all who want the same thing at the same time share one run of the work, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One run for each key at a time. A refusal is shared like a success: asked for once, not once a device."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[T]] = {}

    async def run(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result or the error of the run that is under way, or of a new one."""
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.create_task(work())
            running.add_done_callback(lambda task: self._ended(key, task))
        # One who gives up does not take it from the others.
        return await asyncio.shield(running)

    def forget(self) -> None:
        """Whoever comes from now on gets a new run."""
        self._running.clear()

    def is_current(self, key: str) -> bool:
        """Asked by the work itself: was it not forgotten meanwhile?"""
        return self._running.get(key) is asyncio.current_task()

    def _ended(self, key: str, task: asyncio.Task[T]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen, even where nobody waits any more
