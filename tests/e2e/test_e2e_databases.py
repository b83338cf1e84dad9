"""Two worker processes on each database: a worker is killed, the database goes away, and nobody gets a wrong answer."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.outcomes import SUCCESS, outcome_of
from tests.e2e.polling import until
from tests.e2e.postgresql import PostgreSql
from tests.e2e.server import ScepServer

WORKERS = 2
Outage = Callable[[], AbstractContextManager[None]]


@contextmanager
def on_sqlite(folder: Path) -> Iterator[tuple[ScepServer, Outage]]:
    server = ScepServer(folder / "data", "p256", arguments=("--workers", str(WORKERS)))

    @contextmanager
    def outage() -> Iterator[None]:
        """Somebody else holds the write lock and does not let go."""
        other = sqlite3.connect(server.data / "ledger.sqlite3", isolation_level=None)
        other.execute("PRAGMA busy_timeout = 10000")
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.close()

    with server:
        yield server, outage


@contextmanager
def on_postgresql(folder: Path) -> Iterator[tuple[ScepServer, Outage]]:
    with PostgreSql() as database:

        @contextmanager
        def outage() -> Iterator[None]:
            """The database server is gone, as after a crash."""
            database.end(signal.SIGQUIT)
            try:
                yield
            finally:
                database.start()

        url = {"SCEP_SERVER_LEDGER__URL": database.create_database("ledger")}
        with ScepServer(folder / "data", "p256", arguments=("--workers", str(WORKERS)), environment=url) as server:
            yield server, outage


@pytest.fixture(scope="module", params=[on_sqlite, on_postgresql], ids=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ScepServer, Outage]]:
    with request.param(tmp_path_factory.mktemp("workers")) as running:
        yield running


def workers_of(server: ScepServer) -> set[int]:
    """The serving processes: children of the one that was started."""
    assert server.process is not None
    pid = server.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def enrol(server: ScepServer, name: str) -> wire.Answer:
    return wire.post(server.url, pkcs_req(Device.named(name), server.ra, server.secret))


def ready(server: ScepServer) -> int:
    return wire.request("GET", f"{server.info['admin_url']}/readyz").status


def crl_address(server: ScepServer) -> str:
    issued = outcome_of(enrol(server, "knows-its-crl")).certrep.certificate(Device.named("knows-its-crl"))
    (point,) = issued.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    return str(point.full_name[0].value)


def test_workers_enrol_together_without_a_serial_twice(site: tuple[ScepServer, Outage]):
    server, _ = site
    assert len(workers_of(server)) == WORKERS
    with ThreadPoolExecutor(8) as devices:
        answers = list(devices.map(lambda number: enrol(server, f"together-{number}"), range(24)))
    assert {outcome_of(answer).short for answer in answers} == {SUCCESS}
    rows = [row for row in server.certificates() if "together" in row["subject"]]
    assert len({row["serial"] for row in rows}) == 24
    assert {row["state"] for row in rows} == {"issued"}


def test_workers_are_enough_one_by_one(site: tuple[ScepServer, Outage]):
    """Each of the first two is killed in turn; whoever is left answers, and a new one comes."""
    server, _ = site
    first = workers_of(server)
    for number, victim in enumerate(sorted(first)):
        os.kill(victim, signal.SIGKILL)
        assert outcome_of(enrol(server, f"survivor-{number}")).short == SUCCESS
        until(lambda gone=victim: len(workers_of(server) - {gone}) == WORKERS, 20, "no new worker")
        until(lambda: ready(server) == 200, 20, "not ready again")
    assert not workers_of(server) & first
    server.run("audit", "verify")


def test_workers_without_a_database_say_try_again(site: tuple[ScepServer, Outage]):
    """F2: everything that needs no ledger is answered; an enrolment is told to wait; nothing is lost afterwards."""
    server, outage = site
    crl, certificates = crl_address(server), wire.get(server.url, "GetCACert").body
    with outage():
        refused = enrol(server, "too-early")
        assert (refused.status, int(refused.headers["retry-after"]) > 0) == (503, True)
        assert refused.headers["content-type"] != wire.MESSAGE_TYPE
        assert wire.get(server.url, "GetCACaps").status == 200
        assert wire.get(server.url, "GetCACert").body == certificates
        assert wire.request("GET", crl).status == 200
        assert wire.request("GET", f"{server.info['admin_url']}/healthz").status == 200
    until(lambda: outcome_of(enrol(server, "after-all")).short == SUCCESS, 20, "did not heal")
    states = {row["state"] for row in server.certificates() if "too-early" in row["subject"]}
    assert "issued" not in states
    server.run("audit", "verify")


def test_workers_are_ready_while_the_ledger_can_be_read(site: tuple[ScepServer, Outage]):
    """Another writer's lock leaves it readable; a database that is gone does not."""
    server, outage = site
    during = 503 if server.environment else 200
    assert ready(server) == 200
    with outage():
        until(lambda: ready(server) == during, 20, f"readyz is not {during}")
    until(lambda: ready(server) == 200, 20, "did not heal")
