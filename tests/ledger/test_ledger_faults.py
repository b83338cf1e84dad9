"""Databases that fail: locked, full of triggers, cut off. Always a 503 that heals, never a wrong answer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
import threading
import time
from pathlib import Path

import psycopg
import pytest
from cryptography.x509 import ReasonFlags

from scep_server.audit import verify
from scep_server.errors import LedgerUnavailable
from scep_server.ledger import Ledger, writer
from scep_server.ledger.jobs import Job
from scep_server.types import EntryState, Opening
from tests.contracts.ledger_contract import (
    AUDIT_KEY,
    ISSUER,
    NOW,
    OpenLedger,
    certificate,
    issue,
    kinds,
    opening,
    prepared,
    sequence,
    told,
)


def run_sql(url: str, *statements: str) -> None:
    """As an administrator would, past the ledger."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()
    else:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as server:
            for statement in statements:
                server.execute(statement)


def failing_trigger(url: str, event: str, table: str, when: str) -> None:
    """A database that refuses one kind of row (K4)."""
    if url.startswith("sqlite"):
        raise_it = "SELECT RAISE(ABORT, 'disk on fire');"
        run_sql(url, f"CREATE TRIGGER fire BEFORE {event} ON {table} WHEN {when} BEGIN {raise_it} END")
    else:
        run_sql(
            url,
            "CREATE FUNCTION fire() RETURNS trigger AS $$ BEGIN RAISE 'disk on fire'; END $$ LANGUAGE plpgsql",
            f"CREATE TRIGGER fire BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION fire()",
        )


async def test_serial_is_revocable_though_its_certificate_was_never_stored(ledger: Ledger, ledger_url: str) -> None:
    failing_trigger(ledger_url, "UPDATE", "entry", "NEW.state = 'issued'")
    order = opening()
    assert order.prepared is not None
    opened = await ledger.open(order, told("certificate.intended"))
    with pytest.raises(LedgerUnavailable, match="disk on fire"):
        await ledger.sign(opened.entry.id, certificate(order.prepared), True, told("certificate.issued"))
    entry = await ledger.revoke(ISSUER, order.prepared.serial, ReasonFlags.superseded, NOW, told("revoked"))
    assert entry.state is EntryState.REVOKED
    assert [line.serial for line in ledger.revoked(ISSUER, 0, NOW)] == [order.prepared.serial]
    assert kinds(ledger) == ["certificate.intended", "revoked"]


async def test_event_that_cannot_be_stored_undoes_what_it_tells(ledger: Ledger, ledger_url: str) -> None:
    failing_trigger(ledger_url, "INSERT", "event", "NEW.body LIKE '%unlucky%'")
    orders = [opening() for _ in range(8)]
    names = ["unlucky" if number == 3 else "lucky" for number in range(8)]
    work = (ledger.open(order, told(name)) for order, name in zip(orders, names, strict=True))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [isinstance(result, LedgerUnavailable) for result in results] == [name == "unlucky" for name in names]
    assert ledger.find("jamf", orders[3].transaction_id) is None
    assert len(list(ledger.entries())) == 7


ONLY_SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
ONLY_POSTGRESQL = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)


@ONLY_SQLITE
async def test_locked_sqlite_is_unavailable_then_heals(
    open_it: OpenLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scep_server.ledger.database.BUSY_SECONDS", 0.2)
    ledger = open_it()
    other = sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    results = await asyncio.gather(*(ledger.open(opening(), told("x")) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, LedgerUnavailable) for result in results)
    assert time.monotonic() - began < 3
    assert ledger.find("jamf", "t") is None  # reads go on
    other.execute("ROLLBACK")
    other.close()
    assert (await issue(ledger)).state is EntryState.ISSUED
    assert kinds(ledger) == ["certificate.intended", "certificate.issued"]


TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@ONLY_POSTGRESQL
async def test_terminated_backends_heal_without_an_error(ledger_url: str, ledger: Ledger) -> None:
    await issue(ledger)
    for _ in range(5):
        run_sql(ledger_url, TERMINATE)
        entry = await issue(ledger)
        assert ledger.find("jamf", entry.transaction_id) == entry
    assert len(kinds(ledger)) == 12


@ONLY_POSTGRESQL
async def test_termination_under_load_gives_certificates_or_503(
    ledger_url: str, ledger: Ledger, tmp_path: Path
) -> None:
    stop = threading.Event()

    def terminate() -> None:
        while not stop.wait(0.02):
            run_sql(ledger_url, TERMINATE)

    thread = threading.Thread(target=terminate)
    thread.start()
    try:
        results = await asyncio.gather(*(issue(ledger) for _ in range(200)), return_exceptions=True)
    finally:
        stop.set()
        thread.join()
    assert {type(result).__name__ for result in results} <= {"Entry", "LedgerUnavailable"}
    for entry in results:
        if not isinstance(entry, BaseException):
            assert ledger.entry(entry.id) == entry
    await issue(ledger)
    assert list(verify(ledger.events(), AUDIT_KEY, [tmp_path / "heads"], ledger.id)) == []


class CutOff:
    """A session whose connection dies with the COMMIT: before it took effect, or after."""

    def __init__(self, session: object, after: bool) -> None:
        self._session = session
        self._after = after

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def commit(self) -> None:
        if self._after:
            self._session.commit()  # type: ignore[attr-defined]
        self._session.close()  # type: ignore[attr-defined]
        raise psycopg.OperationalError("server closed the connection unexpectedly")


@pytest.mark.parametrize("after", [True, False])
async def test_unknown_outcome_of_a_commit_is_read_again(ledger: Ledger, after: bool) -> None:
    await issue(ledger)
    inner = ledger._writer
    assert inner._session is not None
    inner._session = CutOff(inner._session, after)  # type: ignore[assignment]
    order = opening()
    if after:
        assert (await ledger.open(order, told("certificate.intended"))).intent is not None
    else:
        with pytest.raises(LedgerUnavailable):
            await ledger.open(order, told("certificate.intended"))
        assert ledger.find("jamf", order.transaction_id) is None
    await issue(ledger)
    assert len(kinds(ledger)) == (5 if after else 4)


@ONLY_POSTGRESQL
async def test_deadlock_is_tried_again(open_it: OpenLedger) -> None:
    """Two writers take the same two transactions in opposite order, in one group each."""
    first, second = open_it(), open_it()
    for number in range(10):
        orders = [opening(f"{number}-{each}", request_hash=bytes([each]) * 32) for each in range(12)]
        await asyncio.gather(
            *(first.open(order, told("x")) for order in orders),
            *(second.open(_again(order), told("x")) for order in reversed(orders)),
        )
    assert len(list(first.entries())) == len(kinds(first)) == 120


def _again(order: Opening) -> Opening:
    return dataclasses.replace(order, prepared=prepared())


async def test_queue_is_bounded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "QUEUE_LIMIT", 3)
    results = await asyncio.gather(*(ledger.open(opening(), ()) for _ in range(50)), return_exceptions=True)
    assert any(isinstance(result, LedgerUnavailable) for result in results)
    assert any(not isinstance(result, BaseException) for result in results)


async def test_head_that_cannot_be_written_stops_everything(ledger: Ledger, tmp_path: Path) -> None:
    (head,) = (tmp_path / "heads").iterdir()
    head.unlink()
    order = opening()
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="audit head"):
            await ledger.open(order, told("certificate.intended"))
    assert len(kinds(ledger)) == 1  # committed, but nobody was told; and nothing after it


@ONLY_SQLITE
async def test_idle_ledger_empties_its_write_ahead_log(
    open_it: OpenLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.01)
    await issue(open_it())
    database = f"file:{tmp_path}/ledger.sqlite3?immutable=1"  # the file as it is, without its log

    def issued() -> int:
        with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM entry WHERE state = 'issued'").fetchone()[0])

    async with asyncio.timeout(10):
        while not issued():  # noqa: ASYNC110 - the writer thread tells nobody
            await asyncio.sleep(0.01)


async def test_what_one_turn_of_the_loop_brings_shares_a_commit(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    settle = ledger._writer._settle

    def counted(jobs: list[Job], *rest: object, **named: object) -> None:
        groups.append(len(jobs))
        settle(jobs, *rest, **named)

    monkeypatch.setattr(ledger._writer, "_settle", counted)
    await asyncio.gather(*(ledger.open(opening(), told("certificate.intended")) for _ in range(20)))
    assert groups == [20]


async def test_operation_that_the_end_overtakes_is_committed(open_it: OpenLedger) -> None:
    ledger = open_it()
    waiting = asyncio.ensure_future(ledger.record(told("x")))
    asyncio.get_running_loop().call_soon(ledger._writer.close)
    await asyncio.wait_for(waiting, 10)
    assert kinds(ledger) == ["x"]


async def test_log_lines_follow_the_commit(ledger: Ledger, tmp_path: Path) -> None:
    await issue(ledger, subject="CN=\x1b[31m\u2028\r\n${jndi:ldap://x}")
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert lines == [row.body for row in ledger.events()]


async def test_closed_ledger_is_unavailable(open_it: OpenLedger) -> None:
    ledger = open_it()
    ledger.close()
    with pytest.raises(LedgerUnavailable):
        await ledger.record(told("x"))


def test_tbs_is_found_in_short_and_long_certificates() -> None:
    from scep_server.ledger.rows import inner_tbs

    for size in (10, 200, 40000):
        tbs = sequence(b"x" * size)
        assert inner_tbs(sequence(tbs + b"\x05\0")) == tbs
    for bad in (b"", b"\x31\0", b"\x30\x82", sequence(b"\x04\x00"), b"\x30\x04\x30\x09ab"):
        with pytest.raises(ValueError, match="certificate"):
            inner_tbs(bad)


async def test_a_bug_in_one_turn_does_not_keep_the_session(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(ledger._writer, "_tell", broken)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(ledger.record(told("x")), 10)
    await asyncio.wait_for(ledger.record(told("y")), 10)
    assert kinds(ledger) == ["y"]
