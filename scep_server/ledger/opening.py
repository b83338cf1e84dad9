"""Finding the right database, or saying in one line why it is not (F5), and making a new one when told to.

SQLite is checked before it is opened (missing, empty, no database, of another program), then its schema and pages, the
pages for a bounded time. What a look at the file cannot tell (an older backup, a lost -wal) the audit heads tell.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import psycopg

from scep_server.errors import LedgerUnavailable, LedgerUnusable
from scep_server.ledger.database import Database, DatabaseError, Session, describe
from scep_server.ledger.filesystem import refuse_network_filesystem
from scep_server.ledger.schema import APPLICATION, APPLICATION_ID, SCHEMA_VERSION

KNOWN_VERSIONS: Final = ("0001", SCHEMA_VERSION)
"""Oldest first; what stands before the last is upgraded when the ledger is opened."""

PAGE_CHECK_SECONDS: Final = 2.0
"""How long SQLite's own page check may take; a small ledger is checked whole, a large one as far as that goes."""

SQLITE_MAGIC: Final = b"SQLite format 3\0"
INITIALISE = "run `scep-server init` to make a new ledger, or restore a backup"


def open_database(url: str, *, initialise: bool, check_pages: bool) -> tuple[Database, str]:
    """The database and its ledger id. LedgerUnusable with cause and remedy; LedgerUnavailable when out of reach."""
    database = Database(url)
    try:
        if database.is_sqlite:
            ledger = _open_sqlite(database, Path(cast("str", database.url.database)), initialise, check_pages)
        else:
            ledger = _open_postgresql(database, initialise)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
            raise LedgerUnusable(f"ledger {database.url.database} is corrupt ({error}): restore a backup") from error
        raise LedgerUnavailable(describe(error)) from error
    except psycopg.Error as error:
        if error.sqlstate == "3D000" or ("database" in str(error) and "does not exist" in str(error)):
            text = (
                f"PostgreSQL has no database {database.url.database!r}: make it (createdb), then run `scep-server init`"
            )
            raise LedgerUnusable(text) from error
        raise LedgerUnavailable(describe(error)) from error
    return database, ledger


# --- SQLite


def _open_sqlite(database: Database, path: Path, initialise: bool, check_pages: bool) -> str:
    if not path.exists():
        if not initialise:
            raise LedgerUnusable(f"ledger {path} does not exist: {INITIALISE}")
        refuse_network_filesystem(path.parent)
        _create_sqlite(path)
    refuse_network_filesystem(path)
    _check_header(path)
    session = database.session()
    try:
        version = _version(session, str(path))
        if version != SCHEMA_VERSION:
            _upgrade(database)
        if check_pages:
            _check_pages(database, path)
        return _ledger_id(session, str(path))
    finally:
        session.close()


def _check_header(path: Path) -> None:
    """What the first hundred bytes tell (https://www.sqlite.org/fileformat.html section 1.3)."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise LedgerUnusable(f"ledger {path} cannot be read ({error.strerror}): check owner and mode") from error
    if not header:
        raise LedgerUnusable(f"ledger {path} is empty: {INITIALISE} (an empty file is never taken for a new ledger)")
    if len(header) < 100 or not header.startswith(SQLITE_MAGIC):
        raise LedgerUnusable(f"{path} is not an SQLite database: restore a backup, or correct the database setting")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise LedgerUnusable(f"{path} belongs to another program: correct the database setting")


def _check_pages(database: Database, path: Path) -> None:
    """SQLite's quick_check, for a bounded time."""
    proxied = database.engine.raw_connection()
    connection = cast("sqlite3.Connection", proxied.driver_connection)
    timer = threading.Timer(PAGE_CHECK_SECONDS, connection.interrupt)
    timer.start()
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
            raise
        found = "ok"
    finally:
        timer.cancel()
        timer.join()
        proxied.close()
    if found != "ok" and "interrupted" not in found:
        raise LedgerUnusable(f"ledger {path} is corrupt ({found.strip().partition(chr(10))[0]}): restore a backup")


def _create_sqlite(path: Path) -> None:
    """A complete ledger appears under its name at once, or not at all; one that is there meanwhile is left alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new-{secrets.token_hex(4)}")
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        database = Database(f"sqlite:///{new}")
        session = database.session()
        session.command(f"PRAGMA application_id={APPLICATION_ID}")
        session.command("PRAGMA journal_mode=WAL")
        _upgrade(database)
        session.begin()
        _write_meta(session)
        session.commit()
        session.close()
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    finally:
        for leftover in (new, Path(f"{new}-wal"), Path(f"{new}-shm")):
            leftover.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# --- PostgreSQL


def _open_postgresql(database: Database, initialise: bool) -> str:
    name = f"database {database.url.database!r}"
    session = database.session()
    try:
        found = session.command("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
        tables = {row[0] for row in found}
        if not tables:
            if not initialise:
                raise LedgerUnusable(f"{name} is empty: {INITIALISE}")
            _upgrade(database)
        elif not {"meta", "alembic_version"} <= tables:
            raise LedgerUnusable(f"{name} holds tables of another program: give scep-server a database of its own")
        version = _version(session, name)
        if version != SCHEMA_VERSION:
            _upgrade(database)
        if initialise:
            _write_meta(session)
        return _ledger_id(session, name)
    finally:
        session.close()


# --- both


def _version(session: Session, name: str) -> str:
    try:
        row = session.command("SELECT version_num FROM alembic_version").fetchone()
    except DatabaseError as error:
        if "alembic_version" not in str(error):
            raise
        row = None
    if row is None:
        raise LedgerUnusable(f"{name} has no schema version: it is half made or damaged; restore a backup")
    version = str(row[0])
    if version not in KNOWN_VERSIONS:
        raise LedgerUnusable(f"{name} has schema {version}, newer than this program: upgrade scep-server")
    return version


def _upgrade(database: Database) -> None:
    # Alembic costs more to import than a start-up to make; most starts do not need it.
    from scep_server.ledger.migrate import upgrade  # noqa: PLC0415

    upgrade(database)


def _write_meta(session: Session) -> None:
    """First come, first served: the ledger id never changes."""
    for name, value in (
        ("application", APPLICATION),
        ("ledger_id", secrets.token_hex(16)),
        ("created_at", datetime.now(UTC).isoformat()),
    ):
        session.change(session.sql.add_meta, {"name": name, "value": value})


def _ledger_id(session: Session, name: str) -> str:
    application = session.one(session.sql.meta, {"name": "application"})
    ledger = session.one(session.sql.meta, {"name": "ledger_id"})
    if application is None or application[0] != APPLICATION or ledger is None:
        raise LedgerUnusable(f"{name} is no ledger of scep-server: correct the database setting")
    return str(ledger[0])
