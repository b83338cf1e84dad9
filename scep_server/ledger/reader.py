"""Reads: one connection a thread, each read short, bounded and on its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from scep_server.errors import LedgerUnavailable
from scep_server.ledger.database import Database, DatabaseError, Session, Trouble, describe, trouble_of

T = TypeVar("T")


class Reader:
    """Blocking reads for pool threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = threading.local()
        self._sessions: set[Session] = set()
        self._lock = threading.Lock()

    def read(self, work: Callable[[Session], T]) -> T:
        """The work's value. A lost connection is made anew once; LedgerUnavailable when that does not help."""
        for attempt in range(2):
            try:
                return work(self._session())
            except DatabaseError as error:
                lost = trouble_of(error) is Trouble.LOST
                if lost:
                    self._drop()
                if attempt or not lost:
                    raise LedgerUnavailable(describe(error)) from error
        raise AssertionError

    async def quick_read(self, work: Callable[[Session], T]) -> T:
        """The same for a coroutine. A file answers in some 20 microseconds, less than a trip to another thread takes;
        a server is waited for in a pool thread.
        """
        if self._database.is_sqlite:
            return self.read(work)
        return await asyncio.to_thread(self.read, work)

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._database.session()
            with self._lock:
                self._sessions.add(session)
        return session

    def _drop(self) -> None:
        session: Session | None = getattr(self._local, "session", None)
        self._local.session = None
        if session is not None:
            with self._lock:
                self._sessions.discard(session)
            session.close()

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            sessions, self._sessions = self._sessions, set()
        self._local = threading.local()
        for session in sessions:
            session.close()
