"""Ledgers on SQLite and on a real PostgreSQL 15, which the session starts on a private port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from scep_server.audit import AuditTrail, EventLog
from scep_server.ledger import Ledger, open_ledger
from tests.contracts.ledger_contract import AUDIT_KEY, OpenLedger


@pytest.fixture(scope="session")
def postgresql(require_program: Callable[[str, str], Path]) -> Iterator[str]:
    """Conninfo of a running server, without a database name; ended with the session."""
    binaries = require_program("initdb", "postgresql-15").parent
    directory = Path(tempfile.mkdtemp(prefix="scep-pg-"))
    user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(directory, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = directory / "data"
    quiet = {"stdout": subprocess.DEVNULL, "cwd": directory, **user}
    initdb = [binaries / "initdb", "-D", data, "-A", "trust", "-U", "scep", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run(initdb, check=True, timeout=60, **quiet)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = (
        "fsync=off",
        "deadlock_timeout=50ms",
        "listen_addresses=127.0.0.1",
        f"unix_socket_directories={directory}",
        f"port={port}",
    )
    arguments = [binaries / "postgres", "-D", data, *(part for each in settings for part in ("-c", each))]
    server = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, **quiet)
    conninfo = f"host=127.0.0.1 port={port} user=scep"
    try:
        _wait_for(conninfo, server)
        yield conninfo
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(conninfo: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(conninfo, dbname="postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)  # polling another program's start; nothing tells us
        else:
            return
    pytest.fail("PostgreSQL did not start")


def postgresql_url(conninfo: str, name: str) -> str:
    """SQLAlchemy's spelling of the same server."""
    port = conninfo.split("port=")[1].split(maxsplit=1)[0]
    return f"postgresql+psycopg://scep@127.0.0.1:{port}/{name}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh ledger file to copy: migrations once, not once a test."""
    directory = tmp_path_factory.mktemp("template")
    path = directory / "ledger.sqlite3"
    quiet = EventLog(os.open(os.devnull, os.O_WRONLY))
    open_ledger(
        f"sqlite:///{path}", initialise=True, audit=AuditTrail(AUDIT_KEY, directory / "heads", log=quiet)
    ).close()
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a template database."""
    with psycopg.connect(postgresql, dbname="postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE scep_template")
    quiet = EventLog(os.open(os.devnull, os.O_WRONLY))
    trail = AuditTrail(AUDIT_KEY, tmp_path_factory.mktemp("template-heads"), log=quiet)
    ledger = open_ledger(postgresql_url(postgresql, "scep_template"), initialise=True, audit=trail)
    ledger.close()
    with psycopg.connect(postgresql, dbname="scep_template", autocommit=True) as connection:
        connection.execute("DELETE FROM event")
    return "scep_template"


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Url of a fresh, initialised ledger: every test that asks for it runs on both databases."""
    if request.param == "sqlite":
        path = tmp_path / "ledger.sqlite3"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    template = request.getfixturevalue("postgresql_template")
    conninfo = request.getfixturevalue("postgresql")
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(conninfo, dbname="postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return postgresql_url(conninfo, name)


@pytest.fixture
def open_it(ledger_url: str, tmp_path: Path) -> Iterator[OpenLedger]:
    """Opens the test's ledger, as often as a test wants; all are closed at the end."""
    opened: list[Ledger] = []
    log = tmp_path / "log.jsonl"

    def open_one() -> Ledger:
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        ledger = open_ledger(ledger_url, audit=AuditTrail(AUDIT_KEY, tmp_path / "heads", log=EventLog(fd)))
        opened.append(ledger)
        return ledger

    yield open_one
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_it: OpenLedger) -> Ledger:
    """One open ledger."""
    return open_it()
