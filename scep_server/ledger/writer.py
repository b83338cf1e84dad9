"""The one writer of a process: it commits in groups.

Every operation that waits goes into the next commit, so one fsync serves them all; when one of them fails, each gets a
savepoint of its own, so that it undoes only itself. The audit events of a group are chained and stored in the same
commit. Results leave only after the commit, the audit head and the log lines.

What may wait for long is on a thread of its own: every step with a database server, and SQLite's COMMIT, which waits
for the disk. SQLite's other statements take microseconds and run on the event loop: on the thread each of them would
wait for the interpreter lock, sixteen times for one enrolment (counted), which cost more than the statements did.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from scep_server.audit import AuditRow, AuditTrail
from scep_server.errors import LedgerUnavailable, LedgerUnusable
from scep_server.ledger.database import Database, DatabaseError, Session, Trouble, describe, trouble_of
from scep_server.ledger.jobs import Done, Job, deliver, fail_all, run_apart, run_together
from scep_server.types import Event

T = TypeVar("T")

QUEUE_LIMIT: Final = 2000
GROUP_LIMIT: Final = 256
IDLE_SECONDS: Final = 1.0
RETRIES: Final = 5
"""How often one operation is done again after a deadlock or a serialization failure."""


class _Group:
    """Jobs that share a commit, on their way to the thread."""

    __slots__ = ("begun", "held", "jobs", "rows")

    def __init__(
        self, jobs: list[Job], *, held: bool = False, begun: bool = False, rows: list[AuditRow] | None = None
    ) -> None:
        self.jobs = jobs
        self.held = held
        """The session is theirs already."""
        self.begun = begun
        """The statements are done; only the COMMIT is left."""
        self.rows = rows


class Writer:
    """Started by start(), ended by close()."""

    def __init__(self, database: Database, trail: AuditTrail) -> None:
        self._database = database
        self._trail = trail
        self._session: Session | None = None
        self._gathered: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        self._queue: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._free = threading.Lock()
        """Held by whoever uses the session and the trail: a loop from a group's first statement on, then the thread."""
        self._refused: set[asyncio.AbstractEventLoop] = set()
        """Loops that found the session in use; to be called when it is free."""
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
            self._queue.put(_Group(self._gathered.pop(loop, [])))
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
        job = Job(operation, events, loop)
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
        if not self._database.is_sqlite:
            jobs = self._gathered.pop(loop, None)
            if jobs:
                self._queue.put(_Group(jobs))
            return
        # Noted first and asked then: whoever frees the session in between will call.
        self._refused.add(loop)
        if not self._free.acquire(blocking=False):
            return
        self._refused.discard(loop)
        jobs = self._gathered.pop(loop, None)
        if jobs:
            self._queue.put(self._begin(jobs))
        else:
            self._free.release()

    def _begin(self, jobs: list[Job]) -> _Group:
        """Run a group's statements here, if nothing about it waits or fails; the thread does everything otherwise."""
        session = self._session
        if session is None:
            return _Group(jobs, held=True)
        try:
            self._trail.ready()
            if session.begin_now():
                if run_together(session, jobs):
                    return _Group(jobs, held=True, begun=True, rows=self._tell(session, jobs))
                session.rollback()
        except Exception:  # noqa: BLE001 - whatever it is comes up again on the thread, which may connect, wait and retry,
            # and tells those who wait; here it would leave the session taken for good.
            with contextlib.suppress(*DatabaseError):
                session.rollback()
        return _Group(jobs, held=True)

    # --- the writer thread

    def _work(self) -> None:
        running = True
        while running:
            groups: list[_Group] = []
            group = self._next()
            while group is not None:
                groups.append(group)
                if group.held or sum(len(each.jobs) for each in groups) >= GROUP_LIMIT:
                    break
                try:
                    group = self._queue.get_nowait()
                except queue.Empty:
                    break
            running = group is not None
            # At most one group holds the session, and it came last.
            held = [each for each in groups if each.held]
            for each in held:
                self._finish(each)
            jobs = [job for each in groups if not each.held for job in each.jobs]
            if jobs:
                self._free.acquire()
                self._finish(_Group(jobs, held=True))

    def _finish(self, group: _Group) -> None:
        """Commit a group that holds the session, free the session, tell everybody who waits."""
        if group.begun and self._session is not None:
            self._settle(group.jobs, group.rows, begun=True)
        else:
            self._settle(group.jobs)
        self._release()
        deliver(group.jobs)

    def _release(self) -> None:
        self._free.release()
        while self._refused:
            with contextlib.suppress(KeyError, RuntimeError):
                loop = self._refused.pop()
                loop.call_soon_threadsafe(self._hand_over, loop)

    def _next(self) -> _Group | None:
        """Wait for a group; in an idle moment do what a later commit would have to do on its way."""
        if self._committed:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._committed = False
                if self._free.acquire(blocking=False):
                    if self._session is not None:
                        with contextlib.suppress(*DatabaseError):
                            self._session.checkpoint()
                    self._release()
        return self._queue.get()

    def _settle(self, jobs: list[Job], rows: list[AuditRow] | None = None, *, begun: bool = False) -> None:
        """Every job leaves with a value or an error, whatever happens: the thread must live."""
        try:
            if begun:
                self._commit(self._connected(), rows)
            else:
                self._commit_group(jobs)
        except (LedgerUnavailable, LedgerUnusable) as error:
            fail_all(jobs, LedgerUnavailable(str(error)))
        except DatabaseError as error:
            self._drop_session()
            fail_all(jobs, LedgerUnavailable(describe(error)))
        except Exception as error:  # noqa: BLE001 - a fault of ours; told to those who wait
            self._drop_session()
            fail_all(jobs, error)

    def _commit_group(self, jobs: list[Job]) -> None:
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

    def _transact(self, session: Session, jobs: list[Job]) -> list[AuditRow] | None:
        """Run the jobs and store their events; None when nothing was written."""
        if not run_together(session, jobs):
            session.rollback()
            session.begin()
            run_apart(session, jobs)
        return self._tell(session, jobs)

    def _tell(self, session: Session, jobs: list[Job]) -> list[AuditRow] | None:
        """Chain and store the events of what was written; None when nothing was."""
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
