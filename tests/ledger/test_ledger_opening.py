"""F5, F6: the wrong database is refused with one clear line, and a missing one is never made up."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from scep_server.audit import AuditTrail, EventLog, verify
from scep_server.errors import ConfigurationError, LedgerUnavailable, LedgerUnusable
from scep_server.ledger import Ledger, open_ledger
from scep_server.ledger.compiling import Statement
from scep_server.ledger.filesystem import filesystem_type
from scep_server.ledger.migrate import alembic_config
from scep_server.ledger.rows import integration_of
from scep_server.ledger.schema import SCHEMA_VERSION, metadata
from scep_server.types import SpentChallenge
from tests.contracts.ledger_contract import AUDIT_KEY, NOW, OpenLedger, issue
from tests.ledger.conftest import postgresql_url
from tests.ledger.test_ledger_faults import run_sql

Opener = Callable[..., Ledger]


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    copy = tmp_path / "ledger.sqlite3"
    shutil.copy(sqlite_template, copy)
    return copy


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    def open_url(url: str | Path, *, initialise: bool = False, key: bytes = AUDIT_KEY) -> Ledger:
        trail = AuditTrail(key, tmp_path / "heads", log=EventLog(os.open(os.devnull, os.O_WRONLY)))
        return open_ledger(f"sqlite:///{url}" if isinstance(url, Path) else url, initialise=initialise, audit=trail)

    return open_url


def test_missing_is_not_made_unless_told(tmp_path: Path, opener: Opener) -> None:
    missing = tmp_path / "deep" / "ledger.sqlite3"
    with pytest.raises(LedgerUnusable, match=r"does not exist: run `scep-server init`"):
        opener(missing)
    assert not missing.exists()
    opener(missing, initialise=True).close()
    assert missing.stat().st_mode & 0o077 == 0
    assert [each.name for each in missing.parent.iterdir()] == [missing.name]
    opener(missing, initialise=True).close()


def damaged(path: Path, how: str) -> None:
    """One way to break a ledger file."""
    content = bytearray(path.read_bytes())
    if how == "empty":
        content.clear()
    elif how == "foreign":
        content[68:72] = b"\0\0\0\7"
    elif how == "text":
        content[:] = b"# my notes\n" * 1000
    elif how == "page":
        content[4096 * 3 : 4096 * 4] = os.urandom(4096)
    elif how == "short":
        del content[len(content) // 2 :]
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("empty", "is empty"),
        ("foreign", "belongs to another program"),
        ("text", "is not an SQLite database"),
        ("page", "is corrupt"),
        ("short", "is corrupt"),
    ],
)
@pytest.mark.parametrize("initialise", [False, True])
def test_damaged_file_is_refused(path: Path, opener: Opener, how: str, text: str, initialise: bool) -> None:
    damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(LedgerUnusable, match=text) as caught:
        opener(path, initialise=initialise)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_newer_schema_is_refused(path: Path, opener: Opener) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerUnusable, match="newer than this program"):
        opener(path)


async def test_older_backup_is_refused_by_the_audit_heads(path: Path, tmp_path: Path, opener: Opener) -> None:
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    ledger = opener(path)
    await issue(ledger)
    ledger.close()
    shutil.copy(backup, path)
    with pytest.raises(LedgerUnusable, match="older backup"):
        opener(path)


async def test_another_ledger_or_key_is_refused(path: Path, tmp_path: Path, opener: Opener) -> None:
    opener(path).close()
    with pytest.raises(LedgerUnusable, match="another audit key"):
        opener(path, key=b"\1" * 32)
    with pytest.raises(LedgerUnusable, match="another database"):
        opener(tmp_path / "other.sqlite3", initialise=True)


async def test_head_behind_the_ledger_catches_up(path: Path, tmp_path: Path, opener: Opener) -> None:
    """What a crash between commit and head leaves."""
    ledger = opener(path)
    (head,) = (tmp_path / "heads").iterdir()
    before = head.read_bytes()
    await issue(ledger)
    ledger.close()
    after = head.read_bytes()
    head.write_bytes(before)
    opener(path).close()
    assert head.read_bytes() == after != before


def test_heads_directory_that_is_none(path: Path, tmp_path: Path, opener: Opener) -> None:
    (tmp_path / "heads").write_text("a file")
    with pytest.raises(LedgerUnusable, match="audit heads cannot be kept"):
        opener(path)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///relative", "mysql://h/d", "not a url"])
def test_urls_that_are_refused(url: str, opener: Opener) -> None:
    with pytest.raises(ConfigurationError):
        opener(url)


def test_postgresql_empty_foreign_missing_and_down(postgresql: str, opener: Opener) -> None:
    with psycopg.connect(postgresql, dbname="postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE opening")
    url = postgresql_url(postgresql, "opening")
    with pytest.raises(LedgerUnusable, match="is empty: run"):
        opener(url)
    with psycopg.connect(postgresql, dbname="opening", autocommit=True) as other:
        other.execute("CREATE TABLE customers (id int)")
    with pytest.raises(LedgerUnusable, match="another program"):
        opener(url, initialise=True)
    with psycopg.connect(postgresql, dbname="opening", autocommit=True) as other:
        other.execute("DROP TABLE customers")
    opener(url, initialise=True).close()
    opener(url).close()
    with pytest.raises(LedgerUnusable, match="has no database"):
        opener(postgresql_url(postgresql, "nowhere"))
    with pytest.raises(LedgerUnavailable):
        opener("postgresql+psycopg://scep@127.0.0.1:1/x")


ADDED = ("challenge_lookup", "open_challenge", "notice", "lease")


def made_older(url: str) -> None:
    """The ledger as version 0001 left it; what it holds stays."""
    drops = [f"DROP TABLE {table}" for table in ADDED]
    run_sql(url, *drops, "UPDATE alembic_version SET version_num = '0001'")


async def test_older_ledger_is_upgraded_and_keeps_what_it_holds(
    ledger_url: str, open_it: OpenLedger, tmp_path: Path
) -> None:
    before = open_it()
    entry = await issue(before, consumes=(b"m" * 32,))
    before.close()
    made_older(ledger_url)
    after = open_it()
    assert after.entry(entry.id) == entry
    assert list(verify(after.events(), AUDIT_KEY, [tmp_path / "heads"], after.id)) == []
    assert await after.challenges.find("jamf", b"m" * 32) == SpentChallenge(entry.id)
    assert after.due_notices(NOW, 10) == []
    with create_engine(ledger_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


async def test_interrupted_upgrade_leaves_the_old_ledger_and_runs_again(
    ledger_url: str, open_it: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_it()
    entry = await issue(before)
    before.close()
    made_older(ledger_url)
    create = Operations.create_table

    def interrupted(self: Operations, name: str, *columns: object, **named: object) -> object:
        if name == "lease":
            raise InterruptedError
        return create(self, name, *columns, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Operations, "create_table", interrupted)
        with pytest.raises(InterruptedError):
            open_it()
    with create_engine(ledger_url).connect() as connection:
        assert not set(inspect(connection).get_table_names()) & set(ADDED)
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
    assert open_it().entry(entry.id) == entry


def test_migrations_make_the_declared_schema(ledger_url: str) -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [SCHEMA_VERSION]
    with create_engine(ledger_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_unknown_integration_option_is_refused() -> None:
    row = ("jamf", "static", '{"renewal": true, "brand_new": 1}', "{}", 1, 1, 0, 0)
    with pytest.raises(LedgerUnusable, match="brand_new"):
        integration_of(row)


def test_network_file_systems_are_recognised() -> None:
    lines = ("/ rw - ext4 /dev/a", "/srv rw - nfs4 host:/x", "/srv/a\\040b rw - xfs /dev/b")
    mounts = "".join(f"2{number} 1 0:2{number} / {line} rw\n" for number, line in enumerate(lines))
    assert filesystem_type(Path("/srv/ledger"), mounts) == "nfs4"
    assert filesystem_type(Path("/srv/a b/ledger"), mounts) == "xfs"
    assert filesystem_type(Path("/srvx/ledger"), mounts) == "ext4"


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_hot_statements_never_scan(open_it: OpenLedger, tmp_path: Path) -> None:
    """A million certificates must not slow what an enrolment runs: every table by an index."""
    sql = open_it()._reader.read(lambda session: session.sql)
    entries = [sql.newest_entry, sql.entry, sql.entry_by_serial, sql.entries_by_serial, sql.unfinished]
    others = [sql.unfinished_page, sql.move_pending, sql.sign, sql.revoke, sql.revoked, sql.mark, sql.newest_crl]
    spending = [sql.spend, sql.last_slot, sql.slot_holder, sql.use_up, sql.add_lookup]
    challenges = [sql.challenge, sql.spender, sql.sealed_challenges, sql.unspent, sql.note_expired, sql.forget_expired]
    outbox = [sql.due_notices, sql.drop_notice, sql.delay_notice, sql.take_lease, sql.end_lease]
    hot = [*entries, *others, sql.events_after, sql.events_page, *spending, *challenges, *outbox]
    for statement in hot:
        plan = plan_of(statement, tmp_path / "ledger.sqlite3")
        assert [line for line in plan if line.startswith("SCAN") and "USING INDEX entry_unfinished" not in line] == []


def plan_of(statement: Statement, database: Path) -> list[str]:
    """How SQLite goes about it."""
    anything = [0] * statement.text.count("?")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", anything)]


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_hundred_thousand_open_challenges_are_not_walked_through(open_it: OpenLedger, tmp_path: Path) -> None:
    """Only the count of the unspent goes over all of an integration, in an index of its own."""
    sql = open_it()._reader.read(lambda session: session.sql)
    by_mac = "SEARCH open_challenge USING PRIMARY KEY (mac=?)"
    for sweep in (sql.note_expired, sql.forget_expired):
        plan = plan_of(sweep, tmp_path / "ledger.sqlite3")
        index = "open_challenge USING COVERING INDEX open_challenge_expiry (noted=? AND expires_at<?)"
        assert plan == [by_mac, "LIST SUBQUERY 1", f"SEARCH {index}"]
    sealed = plan_of(sql.sealed_challenges, tmp_path / "ledger.sqlite3")
    assert sealed == ["SEARCH challenge_lookup USING PRIMARY KEY (lookup=?)", by_mac]
    assert "COVERING INDEX open_challenge_unspent" in plan_of(sql.unspent, tmp_path / "ledger.sqlite3")[0]
