"""Connections of the two databases, and what their errors mean.

A Session is one driver connection that runs the compiled statements and spells BEGIN, SAVEPOINT and COMMIT itself: the
same words on both databases. All waiting is bounded.
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import psycopg
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from scep_server.errors import ConfigurationError
from scep_server.ledger.compiling import Parameters, Statement
from scep_server.ledger.statements import Statements, compile_statements

BUSY_SECONDS: Final = 5
"""How long a locked database is waited for; then 503."""

LOG_PAGES: Final = 4000
"""Length of SQLite's write-ahead log at which a commit moves it into the database itself; 16 MB. Idle moments do so
earlier, and a longer log holds more versions of one page, of which only the last is moved."""

SHORT_PAUSE: Final = 0.0003
LONG_PAUSE: Final = 0.01
"""Seconds between two tries for SQLite's write lock: at first about a third of a commit, later what costs no CPU."""

DatabaseError = (sqlite3.Error, psycopg.Error)

NO_PARAMETERS: Final[Mapping[str, Any]] = {}


class Trouble(enum.Enum):
    """What a database error means for the work at hand."""

    UNIQUE = "unique"
    """A unique key is taken. Only the statement failed."""
    RETRY = "retry"
    """Deadlock or serialization failure: rolled back for sure, may be done again (F11)."""
    LOST = "lost"
    """The connection is gone; what was not committed is rolled back."""
    OTHER = "other"
    """Locked, full, read-only, a failing trigger, ...: this work cannot be done now."""


def trouble_of(error: Exception) -> Trouble:
    """Class of a driver's error."""
    if isinstance(error, psycopg.Error):
        state = error.sqlstate or ""
        if state == "23505":
            return Trouble.UNIQUE
        if state in {"40001", "40P01"}:
            return Trouble.RETRY
        # No SQLSTATE: the driver itself noticed that nobody answers.
        if (not state and isinstance(error, psycopg.OperationalError)) or state[:2] == "08" or state[:3] == "57P":
            return Trouble.LOST
        return Trouble.OTHER
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        if name in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
            return Trouble.UNIQUE
        # After a failed write or fsync SQLite's cache and the file may differ: only a new connection tells (F3). And a
        # connection that was made while the file was read-only stays so when the file is not any more.
        if name.startswith(("SQLITE_IOERR", "SQLITE_READONLY")) or name in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
            return Trouble.LOST
    return Trouble.OTHER


def describe(error: Exception) -> str:
    """One short line for the log; never statement parameters, which hold client data."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
        error = error.orig
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None) or ""
    text = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__} {code}: {text}" if code else f"{type(error).__name__}: {text}"


class Session:
    """One driver connection in autocommit mode. Not for two threads at once."""

    def __init__(self, connection: DBAPIConnection, statements: Statements, is_sqlite: bool) -> None:
        self._connection = connection
        self.is_sqlite = is_sqlite
        self.sql = statements

    def command(self, text: str) -> DBAPICursor:
        """Run SQL that takes no parameters."""
        cursor = self._connection.cursor()
        cursor.execute(text)
        return cursor

    def one(self, statement: Statement, parameters: Parameters = NO_PARAMETERS) -> Sequence[Any] | None:
        """First row, or None. The statement is finished either way."""
        cursor = self._run(statement, parameters)
        row = cursor.fetchone()
        cursor.close()
        return cast("Sequence[Any] | None", row)

    def all(self, statement: Statement, parameters: Parameters = NO_PARAMETERS) -> Sequence[Sequence[Any]]:
        """All rows."""
        return cast("Sequence[Sequence[Any]]", self._run(statement, parameters).fetchall())

    def change(self, statement: Statement, parameters: Parameters) -> bool:
        """Run an INSERT, UPDATE or DELETE; True when it touched a row."""
        return self._run(statement, parameters).rowcount > 0

    def change_all(self, statement: Statement, parameters: Parameters) -> int:
        """The same; how many rows it touched."""
        return self._run(statement, parameters).rowcount

    def insert(self, statement: Statement, parameters: Parameters) -> int | None:
        """Run an INSERT that makes an id; None when a unique key was taken."""
        cursor = self._run(statement, parameters)
        if self.is_sqlite:
            return cursor.lastrowid if cursor.rowcount > 0 else None
        row = cursor.fetchone()
        return None if row is None else row[0]

    def insert_all(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> None:
        """Run an INSERT of whole rows: the values in the order of the table's columns."""
        self._connection.cursor().executemany(statement.text, rows)

    def _run(self, statement: Statement, parameters: Parameters) -> DBAPICursor:
        cursor = self._connection.cursor()
        cursor.execute(statement.text, statement.values(parameters))
        return cursor

    def begin(self) -> None:
        """Start a write transaction; SQLite takes its write lock here, so no lock is ever upgraded (F4)."""
        if not self.is_sqlite:
            self.command("BEGIN")
            return
        deadline = time.monotonic() + BUSY_SECONDS
        pause = SHORT_PAUSE
        while not self.begin_now(last=time.monotonic() > deadline):
            time.sleep(pause)
            pause = min(pause * 1.5, LONG_PAUSE)

    def begin_now(self, *, last: bool = False) -> bool:
        """Take SQLite's write lock without waiting; False while another process writes, or its error if `last`.

        SQLite's own waiting sleeps for up to 100 ms between tries, a hundred times as long as a commit takes.
        """
        self.command("PRAGMA busy_timeout = 0")
        try:
            self.command("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if last or not getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                raise
            return False
        return True

    def commit(self) -> None:
        """COMMIT; an error leaves the outcome to be found out."""
        self.command("COMMIT")

    def checkpoint(self) -> None:
        """Move SQLite's write-ahead log into the database, as far as no reader is in the way."""
        if self.is_sqlite:
            self.command("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def rollback(self) -> None:
        """ROLLBACK; does not raise, a broken connection is rolled back by its end."""
        with contextlib.suppress(*DatabaseError):
            self.command("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(*DatabaseError):
            self._connection.close()


class Database:
    """Opens sessions."""

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else _postgresql_engine(self.url)
        self.statements = compile_statements(self.engine.dialect)

    def session(self) -> Session:
        """A new connection. The driver's errors pass."""
        try:
            proxied = self.engine.raw_connection()
        except DBAPIError as error:
            raise (error.orig if isinstance(error.orig, DatabaseError) else error) from None
        connection = cast("DBAPIConnection", proxied.driver_connection)
        proxied.detach()
        if not self.is_sqlite:
            connection.autocommit = True
        return Session(connection, self.statements, self.is_sqlite)


def _checked(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigurationError(
            "database url cannot be read: write sqlite:////path or postgresql+psycopg://..."
        ) from error
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:" or not url.database.startswith("/"):
            raise ConfigurationError("an SQLite database needs an absolute path: sqlite:////var/lib/...")
        return url
    if url.drivername in {"postgresql", "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    raise ConfigurationError(f"database {url.drivername} is not supported: use sqlite or postgresql+psycopg")


def _sqlite_engine(url: URL) -> Engine:
    # mode=rw: a missing file stays missing, whatever happens (F5).
    uri = f"file:{_uri_path(cast('str', url.database))}"
    engine = create_engine(
        url.set(database=uri, query={"mode": "rw", "uri": "true"}),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-8000", f"wal_autocheckpoint={LOG_PAGES}"):
            cursor.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _uri_path(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _postgresql_engine(url: URL) -> Engine:
    limits = (
        f"-c lock_timeout={BUSY_SECONDS * 1000} -c statement_timeout={BUSY_SECONDS * 2000} "
        f"-c idle_in_transaction_session_timeout={BUSY_SECONDS * 2000} "
        "-c default_transaction_isolation=read\\ committed"
    )
    arguments = {
        "connect_timeout": BUSY_SECONDS,
        "application_name": "scep-server",
        "options": limits,
        "tcp_user_timeout": BUSY_SECONDS * 2000,
        "keepalives_idle": 10,
        **url.query,
    }
    engine = create_engine(url.set(query={}), poolclass=NullPool, paramstyle="format", connect_args=arguments)

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: object) -> None:
        row = connection.execute("SHOW synchronous_commit").fetchone()
        if row[0] == "off":
            connection.execute("SET SESSION synchronous_commit = on")
        connection.commit()

    return engine
