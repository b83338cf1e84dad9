"""A whole site without listeners: real CA, real SQLite ledger, the road as it is wired in a worker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scep_server.assembly.first_run import Plan, default_integration, quickstart_settings
from scep_server.assembly.road import build_road
from scep_server.assembly.site import Site, opened, utc_now
from scep_server.audit import RefusalCoalescer
from scep_server.config import Settings, load
from scep_server.enrollment.refusals import Limits, Refusals
from scep_server.enrollment.service import Enrollment
from scep_server.types import Source
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.replies import Reply, read_reply

CHALLENGE = "walk-the-road-0123"
HERE = Source("192.0.2.7", "test")


class NoCrl:
    """A server that has not signed a CRL yet."""

    def current(self, issuer_id: str, shard: int) -> bytes | None:
        return None


@dataclass
class Walk:
    """One process's road and everything beside it."""

    site: Site
    road: Enrollment

    @property
    def ra(self) -> bytes:
        return self.site.ca.scep_certificates[0]

    def request(self, device: Device, transaction_id: str, challenge: str | None = CHALLENGE) -> bytes:
        return pkcs_req(device, self.ra, challenge, transaction_id=transaction_id)

    async def send(self, message: bytes, source: Source = HERE, integration: str = "default") -> Reply:
        return read_reply(await self.road.pki_operation(integration, message, source))


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first run's folder, made once."""
    data = tmp_path_factory.mktemp("road") / "data"
    settings = quickstart_settings(data, Plan("127.0.0.1:1", "127.0.0.1:2", "http://ca.test", "p256"))
    asyncio.run(default_integration(settings, CHALLENGE))
    return data


@pytest.fixture
def settings(made_data: Path, tmp_path: Path) -> Settings:
    """The same in a folder of the test's own."""
    data = tmp_path / "data"
    shutil.copytree(made_data, data)
    return load(data / "scep-server.toml")


def road_of(site: Site) -> Walk:
    """The road of a site, its integrations loaded."""
    site.activate()
    refusals = Refusals(site.ledger, RefusalCoalescer(utc_now), Limits(), site.metrics, utc_now)
    return Walk(site, build_road(site, refusals, NoCrl()))


@pytest.fixture
async def walk(settings: Settings) -> AsyncIterator[Walk]:
    """A site with its road."""
    async with opened(settings) as site:
        yield road_of(site)
