"""One operation on the ledger and who waits for it; running a few of them in one transaction.

Failures are rare and a savepoint costs two statements a job: so jobs run together without, and apart, each in its
savepoint, when one of them must be undone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from scep_server.errors import LedgerUnavailable
from scep_server.ledger.database import DatabaseError, Session, Trouble, describe, trouble_of
from scep_server.types import Event

T = TypeVar("T")


class Done(NamedTuple, Generic[T]):
    """What an operation did."""

    value: T
    entry_id: int | None = None
    """Given to its events that name no entry."""
    wrote: bool = True
    """False: nothing was written, so its events are not recorded."""
    undo: bool = False
    """True, with wrote False: it wrote on its way to the value, and none of that may stay."""


Operation = Callable[[Session], Done[Any]]


class Job:
    """One operation and who waits for it."""

    __slots__ = ("done", "error", "events", "future", "loop", "operation")

    def __init__(self, operation: Operation, events: Sequence[Event], loop: asyncio.AbstractEventLoop) -> None:
        self.operation = operation
        self.events = events
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.done: Done[Any] | None = None
        self.error: Exception | None = None

    @property
    def wrote(self) -> bool:
        """True: its work and its events are to be committed."""
        return self.done is not None and self.done.wrote

    @property
    def leaves_traces(self) -> bool:
        """True: what it may have written must be undone."""
        return self.error is not None or (self.done is not None and self.done.undo)

    def told(self) -> Iterator[tuple[Event, int | None]]:
        """The events with the entry each is about."""
        entry_id = self.done.entry_id if self.done is not None else None
        for event in self.events:
            yield event, entry_id if event.entry_id is None else event.entry_id


def run_together(session: Session, jobs: Sequence[Job]) -> bool:
    """Run jobs one after the other; False when one must be undone that has company, which would be undone with it."""
    for job in jobs:
        _run(session, job)
        if job.leaves_traces and len(jobs) > 1:
            return False
    return True


def run_apart(session: Session, jobs: list[Job]) -> None:
    """Run each job in its savepoint, so that its failure undoes only itself."""
    for job in jobs:
        session.command("SAVEPOINT job")
        _run(session, job)
        if not job.wrote:
            session.command("ROLLBACK TO SAVEPOINT job")
        session.command("RELEASE SAVEPOINT job")


def _run(session: Session, job: Job) -> None:
    """Run one job; what concerns the whole transaction passes."""
    job.done = job.error = None
    try:
        job.done = job.operation(session)
    except DatabaseError as error:
        if trouble_of(error) in {Trouble.RETRY, Trouble.LOST}:
            raise
        job.error = LedgerUnavailable(describe(error))
    except Exception as error:  # noqa: BLE001 - a Refusal and its like belong to this job alone
        job.error = error


def fail_all(jobs: list[Job], error: Exception) -> None:
    """The transaction failed: the error is everybody's who has none of his own."""
    for job in jobs:
        if job.error is None:
            job.error = error


def deliver(jobs: list[Job]) -> None:
    """Wake those who wait, each on his own loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, waiting in by_loop.items():
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        elif job.done is not None:
            job.future.set_result(job.done.value)
