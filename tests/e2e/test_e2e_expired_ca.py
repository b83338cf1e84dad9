"""Ten years later, by libfaketime: what a server does whose certificates are about to end, or have ended (F24)."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable

import pytest

from tests.conftest import find_program
from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.outcomes import SUCCESS, outcome_of
from tests.e2e.server import ScepServer

LIFE = 3650
"""Days that init gives the issuing CA and the RA."""


@pytest.fixture(scope="module")
def years_later(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], ScepServer]:
    """A server made today, to be started so many days later."""
    # The library itself, not its wrapper: that one forks, and a signal for it would leave the server running.
    prefix = find_program("faketime", "faketime").parents[1]
    library = next(prefix.glob("lib/*/faketime/libfaketimeMT.so.1"))
    data = tmp_path_factory.mktemp("years") / "data"
    ScepServer(data, "p256").start().stop()

    def later(days: int) -> ScepServer:
        return ScepServer(data, "p256", environment={"LD_PRELOAD": str(library), "FAKETIME": f"+{days}d"})

    return later


def enrol(server: ScepServer, name: str) -> wire.Answer:
    return wire.post(server.url, pkcs_req(Device.named(name), server.ra, server.secret))


def ready(server: ScepServer) -> int:
    return wire.request("GET", urllib.parse.urljoin(server.info["admin_url"], "/readyz")).status


def test_expiry_is_announced(years_later: Callable[[int], ScepServer]):
    with years_later(LIFE - 20) as server:
        assert outcome_of(enrol(server, "in-time")).short == SUCCESS
        assert ready(server) == 200
    assert "Intermediate Authority expires in 19 days" in server.stderr()


def test_expiry_stops_issuing_and_nothing_else(years_later: Callable[[int], ScepServer]):
    with years_later(LIFE + 1) as server:
        refused = enrol(server, "too-late")
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        assert wire.get(server.url, "GetCACert").status == 200
        assert ready(server) == 503
        assert not [row for row in server.certificates() if "too-late" in row["subject"]]
    assert "Intermediate Authority has expired" in server.stderr()
