"""A house for plugins under test: a real CA's folder, a real SQLite ledger and key file, and a clock the test turns."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scep_server import plugins
from scep_server.assembly.first_run import Plan, default_integration, quickstart_settings
from scep_server.assembly.house import House, IntegrationHost
from scep_server.assembly.site import open_audit
from scep_server.ca import read_ca_certificates
from scep_server.config import Settings
from scep_server.enrollment.refusals import Limits
from scep_server.keyfile import SecretKeyFile, read_key
from scep_server.ledger import Ledger, open_ledger
from scep_server.metrics import Metrics
from scep_server.outbound import HttpsClient
from scep_server.types import Integration, IntegrationOptions


class TurnedClock:
    """Time stands still until the test turns it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclasses.dataclass
class HouseUnderTest:
    """`host(plugin, name)` is what a plugin of that integration is given; `load` makes the live plugin with it."""

    house: House
    ledger: Ledger
    clock: TurnedClock
    metrics: Metrics

    @property
    def keys(self) -> SecretKeyFile:
        keys = self.house.keys
        assert isinstance(keys, SecretKeyFile)
        return keys

    def integration(
        self, challenge: str, settings: Mapping[str, Any], name: str = "corp", *, enabled: bool = True
    ) -> Integration:
        now = self.clock()
        return Integration(name, challenge, IntegrationOptions(), settings, enabled, 1, now, now)

    def host(self, challenge: str = "static", name: str = "corp", *, enabled: bool = True) -> IntegrationHost:
        return IntegrationHost(self.house, self.integration(challenge, {}, name, enabled=enabled))

    def load(
        self, challenge: str, settings: Mapping[str, Any], name: str = "corp", *, enabled: bool = True
    ) -> plugins.GuardedPlugin:
        return self.house.load(self.integration(challenge, settings, name, enabled=enabled))

    def counted(self, plugin: str, event: str) -> float:
        """How often a plugin counted an event, from the exposition."""
        wanted = f'scep_server_plugin_events_total{{event="{event}",plugin="{plugin}"}} '
        lines = [line for line in self.metrics.exposition().decode().splitlines() if line.startswith(wanted)]
        return float(lines[0].removeprefix(wanted)) if lines else 0.0


@pytest.fixture(scope="session")
def plugin_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A first run's folder, made once; nothing of it is changed by the tests but the ledger, which each copies."""
    data = tmp_path_factory.mktemp("plugins") / "data"
    settings = quickstart_settings(data, Plan("127.0.0.1:1", "127.0.0.1:2", "https://ca.test", "p256"))
    asyncio.run(default_integration(settings, "plugins-under-test-0123"))
    return settings


@pytest.fixture
async def make_house(plugin_settings: Settings, tmp_path: Path) -> AsyncIterator[Callable[..., HouseUnderTest]]:
    """Makes houses; `make_house(ca_file=PATH)` trusts that PEM for outgoing HTTPS beside the system's own."""
    opened: list[HouseUnderTest] = []

    def make(ca_file: Path | None = None, proxy: str | None = None) -> HouseUnderTest:
        settings = plugin_settings
        audit = settings.audit.model_copy(update={"heads": tmp_path / f"audit{len(opened)}"})
        settings = settings.model_copy(update={"audit": audit})
        audit.heads.mkdir(mode=0o700)
        clock, metrics = TurnedClock(), Metrics(plugin_events=plugins.counters())
        url = f"sqlite:///{tmp_path}/ledger{len(opened)}.sqlite3"
        ledger = open_ledger(url, initialise=True, audit=open_audit(settings), clock=clock)
        outbound = settings.outbound.model_copy(update={"ca_file": ca_file, **({"proxy": proxy} if proxy else {})})
        certificates = read_ca_certificates(settings.ca.directory)
        house = House(
            public_url=settings.public_url,
            keys=SecretKeyFile(read_key(settings.secrets.key_file)),
            challenges=ledger.challenges,
            outbound=HttpsClient(outbound),
            clock=clock,
            metrics=metrics,
            limits=Limits(),
            issuer=lambda: certificates.values,
            record=ledger.record,
        )
        made = HouseUnderTest(house, ledger, clock, metrics)
        opened.append(made)
        return made

    yield make
    for one in opened:
        await one.house.outbound.close()  # type: ignore[attr-defined]
        one.ledger.close()


@pytest.fixture
async def house(make_house: Callable[..., HouseUnderTest]) -> HouseUnderTest:
    """One such house."""
    return make_house()
