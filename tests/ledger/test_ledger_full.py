"""F3: a full disk, a database or audit heads that became read-only: a 503, nothing released, and it heals by itself."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from scep_server.audit import verify
from scep_server.errors import LedgerUnavailable
from scep_server.ledger import Ledger
from scep_server.types import EntryState
from tests.conftest import cannot
from tests.contracts.ledger_contract import AUDIT_KEY, OpenLedger, certificate, issue, kinds, opening, told

ONLY_SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
ONLY_POSTGRESQL = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "scep", disk], check=False).returncode:
        cannot("only root may mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def ledger_url(ledger_url: str, request: pytest.FixtureRequest) -> str:
    """The ledger lies on the small disk where a test asks for one."""
    if "small_disk" not in request.fixturenames:
        return ledger_url
    moved = request.getfixturevalue("small_disk") / "ledger.sqlite3"
    shutil.copy(ledger_url.removeprefix("sqlite:///"), moved)
    return f"sqlite:///{moved}"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond size by a write of this process: such a write fails, as over a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def immutable(*paths: Path) -> Iterator[None]:
    """Writes to these files fail, also through descriptors that are open: what a disk does that turned read-only."""
    if subprocess.run(["chattr", "+i", *paths], check=False, capture_output=True).returncode:
        cannot("only root may make files immutable, and not on every file system")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *paths], check=True)


async def refused_then_healed(ledger: Ledger, broken: Callable[[], object], heal: Callable[[], object]) -> None:
    """While it is broken nothing opens and nothing is signed, but reads go on; healed, the same entry gets on."""
    waiting = await ledger.open(before := opening(), told("certificate.intended"))
    assert before.prepared is not None
    broken()
    try:
        orders = [opening() for _ in range(8)]
        work = (ledger.open(order, told("certificate.intended")) for order in orders)
        results = await asyncio.gather(*work, return_exceptions=True)
        assert {type(result) for result in results} == {LedgerUnavailable}
        with pytest.raises(LedgerUnavailable):
            await ledger.sign(waiting.entry.id, certificate(before.prepared), True, told("certificate.issued"))
        assert [ledger.find(order.integration, order.transaction_id) for order in orders] == [None] * 8
        found = ledger.find(before.integration, before.transaction_id)
        assert found is not None
        assert (found.state, found.certificate) == (EntryState.INTENDED, None)
        assert kinds(ledger) == ["certificate.intended"]
    finally:
        heal()
    signed = await ledger.sign(waiting.entry.id, certificate(before.prepared), True, told("certificate.issued"))
    assert signed.state is EntryState.ISSUED
    assert (await issue(ledger)).state is EntryState.ISSUED
    assert kinds(ledger) == ["certificate.intended", "certificate.issued"] * 2


def assert_whole(ledger: Ledger, database: Path, heads: Path) -> None:
    assert list(verify(ledger.events(), AUDIT_KEY, [heads], ledger.id)) == []
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@ONLY_SQLITE
async def test_full_disk(small_disk: Path, ledger: Ledger, tmp_path: Path) -> None:
    filler = small_disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        assert shutil.disk_usage(small_disk).free == 0

    await refused_then_healed(ledger, fill, filler.unlink)
    assert_whole(ledger, small_disk / "ledger.sqlite3", tmp_path / "heads")


@ONLY_SQLITE
async def test_writes_that_fail(ledger: Ledger, tmp_path: Path) -> None:
    limit = largest_file(0)
    await refused_then_healed(ledger, limit.__enter__, lambda: limit.__exit__(None, None, None))
    assert_whole(ledger, tmp_path / "ledger.sqlite3", tmp_path / "heads")


@ONLY_SQLITE
async def test_read_only_database(ledger: Ledger, tmp_path: Path) -> None:
    frozen = immutable(tmp_path / "ledger.sqlite3", tmp_path / "ledger.sqlite3-wal")
    await refused_then_healed(ledger, frozen.__enter__, lambda: frozen.__exit__(None, None, None))
    assert_whole(ledger, tmp_path / "ledger.sqlite3", tmp_path / "heads")


async def head_refused_then_healed(ledger: Ledger, heads: Path, broken: AbstractContextManager[None]) -> None:
    """The first operation is committed but told to nobody; the next do not even begin; then all goes on."""
    order = opening()
    assert order.prepared is not None
    with broken:
        for _ in range(3):
            with pytest.raises(LedgerUnavailable, match="audit head cannot be written"):
                await ledger.open(order, told("certificate.intended"))
        assert kinds(ledger) == ["certificate.intended"]
        with pytest.raises(LedgerUnavailable):
            await ledger.record(told("request.refused"))
    again = await ledger.open(order, told("certificate.intended"))
    assert (again.existing, again.intent) == (True, None)
    intent = await ledger.resume(again.entry.id)
    assert intent is not None
    assert intent.take() == order.prepared.tbs
    signed = await ledger.sign(again.entry.id, certificate(order.prepared), True, told("certificate.issued"))
    assert signed.state is EntryState.ISSUED
    assert kinds(ledger) == ["certificate.intended", "certificate.issued"]
    assert list(verify(ledger.events(), AUDIT_KEY, [heads], ledger.id)) == []


async def test_read_only_audit_head(open_it: OpenLedger, tmp_path: Path) -> None:
    ledger = open_it()
    (head,) = (tmp_path / "heads").iterdir()
    await head_refused_then_healed(ledger, tmp_path / "heads", immutable(head))


@ONLY_POSTGRESQL
async def test_audit_head_over_its_quota(ledger: Ledger, tmp_path: Path) -> None:
    """The database is another process's and has room."""
    await head_refused_then_healed(ledger, tmp_path / "heads", largest_file(0))
