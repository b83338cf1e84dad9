"""Where blocking steps run: on the event loop's own thread, or on a pool.

A step is about a millisecond of CPU, most of it RSA. Handing it to a thread costs more than it gains in one process:
the interpreter lock makes loop, pool and ledger writer wait for each other at every cryptographic call (measured: a
third more CPU for each enrolment, and no more of them on two cores). So workers are processes, and a step runs right
here, unless something in it may wait for somebody else: a database server, a hardware module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """Runs a blocking step and gives its result."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Await the result; what the step raises comes through."""
        ...


async def here(work: Callable[[], T], /) -> T:
    """Runs the step on the calling thread: for steps that only compute, or read a local file."""
    return work()


def on(pool: Executor) -> Offload:
    """Runs steps on a pool: for steps that may wait."""

    def run(work: Callable[[], T], /) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(pool, work)

    return run
