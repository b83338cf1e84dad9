"""The one writer of a process: a thread that commits in groups.

Every operation that waits goes into the next commit, so one fsync serves them all; when one of them fails, each gets a
savepoint of its own, so that it undoes only itself. The audit events of a group are chained and stored in the same
commit. Results leave only after the commit, the audit head and the log lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from scep_server.audit import AuditRow, AuditTrail
from scep_server.errors import LedgerUnavailable, LedgerUnusable
from scep_server.ledger.database import Database, DatabaseError, Session, Trouble, describe, trouble_of
from scep_server.types import Event

T = TypeVar("T")

QUEUE_LIMIT: Final = 2000
GROUP_LIMIT: Final = 256
IDLE_SECONDS: Final = 1.0
RETRIES: Final = 5
"""How often one operation is done again after a deadlock or a serialization failure."""


class Done(NamedTuple, Generic[T]):
    """What an operation did."""

    value: T
    entry_id: int | None = None
    """Given to its events that name no entry."""
    wrote: bool = True
    """False: nothing was written, so its events are not recorded."""


Operation = Callable[[Session], Done[Any]]


class _Job:
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
        return self.done is not None and self.done.wrote

    def told(self) -> Iterator[tuple[Event, int | None]]:
        """The events with the entry each is about."""
        entry_id = self.done.entry_id if self.done is not None else None
        for event in self.events:
            yield event, entry_id if event.entry_id is None else event.entry_id


class Writer:
    """Started by connect(), ended by close()."""

    def __init__(self, database: Database, trail: AuditTrail) -> None:
        self._database = database
        self._trail = trail
        self._session: Session | None = None
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._closed = False
        self._committed = False
        self._waiting = 0
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Connect in the caller's thread, so that a bad database is told at once, then start the writer thread."""
        self._connected()
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, then stop. Not on the event loop of waiting callers."""
        self._closed = True
        for loop in list(self._gathered):
            self._hand_over(loop)
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._drop_session()

    async def run(self, operation: Callable[[Session], Done[T]], events: Sequence[Event] = ()) -> T:
        """The operation's value, after its commit. Its own errors pass; a database that cannot is LedgerUnavailable."""
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")
        if self._waiting >= QUEUE_LIMIT:
            raise LedgerUnavailable("too many operations wait for the ledger", retry_after=10)
        loop = asyncio.get_running_loop()
        job = _Job(operation, events, loop)
        # What one turn of the loop brings goes over together: fewer, fuller commits, and one waking of the thread.
        gathered = self._gathered.get(loop)
        if gathered is None:
            gathered = self._gathered[loop] = []
            loop.call_soon(self._hand_over, loop)
        gathered.append(job)
        self._waiting += 1
        try:
            value: T = await job.future
        finally:
            self._waiting -= 1
        return value

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = self._gathered.pop(loop, None)
        if jobs:
            self._queue.put(jobs)

    # --- the writer thread

    def _work(self) -> None:
        running = True
        while running:
            jobs: list[_Job] = []
            gathered = self._next()
            while gathered is not None:
                jobs += gathered
                if len(jobs) >= GROUP_LIMIT:
                    break
                try:
                    gathered = self._queue.get_nowait()
                except queue.Empty:
                    break
            running = gathered is not None
            if jobs:
                self._settle(jobs)
                _deliver(jobs)

    def _next(self) -> list[_Job] | None:
        """Wait for jobs; in an idle moment do what a later commit would have to do on its way."""
        if self._committed:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._committed = False
                if self._session is not None:
                    with contextlib.suppress(*DatabaseError):
                        self._session.checkpoint()
        return self._queue.get()

    def _settle(self, jobs: list[_Job]) -> None:
        """Every job leaves with a value or an error, whatever happens: the thread must live."""
        try:
            self._commit_group(jobs)
        except (LedgerUnavailable, LedgerUnusable) as error:
            _fail(jobs, LedgerUnavailable(str(error)))
        except DatabaseError as error:
            self._drop_session()
            _fail(jobs, LedgerUnavailable(describe(error)))
        except Exception as error:  # noqa: BLE001 - a fault of ours; told to those who wait
            self._drop_session()
            _fail(jobs, error)

    def _commit_group(self, jobs: list[_Job]) -> None:
        for attempt in range(RETRIES):
            session = self._connected()
            self._trail.ready()
            began = False
            try:
                session.begin()
                began = True
                rows = self._transact(session, jobs)
            except DatabaseError as error:
                session.rollback()
                trouble = trouble_of(error)
                if trouble is Trouble.LOST:
                    # Nothing was committed, so a fresh connection may do the same again: once.
                    self._drop_session()
                    if attempt:
                        raise
                elif began and len(jobs) > 1:
                    for job in jobs:
                        self._settle([job])
                    return
                elif trouble is not Trouble.RETRY or attempt == RETRIES - 1:
                    raise
                else:
                    time.sleep(random.uniform(0, 0.01) * 2**attempt)  # noqa: S311 - keeps two writers apart
                continue
            self._commit(session, rows)
            return

    def _transact(self, session: Session, jobs: list[_Job]) -> list[AuditRow] | None:
        """Run the jobs and store their events; None when nothing was written.

        Failures are rare and a savepoint costs two statements a job: so the group runs without, and again with them
        when a job fails.
        """
        for job in jobs:
            _run(session, job)
            if job.error is not None and len(jobs) > 1:
                session.rollback()
                session.begin()
                _run_apart(session, jobs)
                break
        if not any(job.wrote for job in jobs):
            return None
        rows = self._trail.chain([told for job in jobs if job.wrote for told in job.told()])
        if rows:
            session.insert_all(session.sql.add_event, rows)
        return rows

    def _commit(self, session: Session, rows: list[AuditRow] | None) -> None:
        if rows is None:
            session.rollback()
            return
        try:
            session.commit()
        except DatabaseError as error:
            self._drop_session()
            # Done or not? The new connection waits until the old one has ended, then adopts what was committed (F10).
            self._connected()
            if not rows or self._trail.seq != rows[-1].seq:
                raise LedgerUnavailable(f"commit failed: {describe(error)}") from error
            return
        self._committed = True
        self._trail.committed(rows)

    def _connected(self) -> Session:
        """The writer's session; a new one adopts events that were committed without our knowing."""
        if self._session is not None:
            return self._session
        try:
            session = self._database.session()
            try:
                self._take_over(session)
            except BaseException:
                session.close()
                raise
        except DatabaseError as error:
            raise LedgerUnavailable(describe(error)) from error
        self._session = session
        return session

    def _take_over(self, session: Session) -> None:
        if not self._database.is_sqlite:
            # Held as long as the session lives: whoever gets it knows that the session before has ended, and two
            # processes with copies of one head can never write one chain.
            number = int.from_bytes(bytes.fromhex(self._trail.writer), "big", signed=True)
            session.command(f"SELECT pg_advisory_lock({number}::bigint)")
        after = {"writer": self._trail.writer, "seq": self._trail.seq}
        self._trail.resume(AuditRow(*row) for row in session.all(session.sql.events_after, after))

    def _drop_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _run_apart(session: Session, jobs: list[_Job]) -> None:
    """Run each job in its savepoint, so that its failure undoes only itself."""
    for job in jobs:
        session.command("SAVEPOINT job")
        _run(session, job)
        if not job.wrote:
            session.command("ROLLBACK TO SAVEPOINT job")
        session.command("RELEASE SAVEPOINT job")


def _run(session: Session, job: _Job) -> None:
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


def _fail(jobs: list[_Job], error: Exception) -> None:
    for job in jobs:
        if job.error is None:
            job.error = error


def _deliver(jobs: list[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, waiting in by_loop.items():
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        elif job.done is not None:
            job.future.set_result(job.done.value)
