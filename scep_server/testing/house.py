"""A house for plugins under test: a real CA's folder, a real SQLite ledger and key file, and a clock the test turns."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scep_server import plugins
from scep_server.assembly.first_run import Plan, quickstart_settings
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
        self.began = self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        """The time it is."""
        return self.now

    def forward(self, **by: float) -> None:
        """Turn it; by is what timedelta takes."""
        self.now += timedelta(**by)


@dataclass
class HouseUnderTest:
    """`host(plugin, name)` is what a plugin of that integration is given; `load` makes an installed live plugin."""

    house: House
    ledger: Ledger
    clock: TurnedClock
    metrics: Metrics
    outbound: HttpsClient = field(repr=False)

    @property
    def keys(self) -> SecretKeyFile:
        """The key file; another house has another one only when it was given one."""
        keys = self.house.keys
        if not isinstance(keys, SecretKeyFile):
            raise TypeError("this house was given keys that are no key file")
        return keys

    def integration(
        self, challenge: str, settings: Mapping[str, Any], name: str = "corp", *, enabled: bool = True
    ) -> Integration:
        """An integration as the ledger would keep it; made when the clock began, however late it is loaded."""
        made = self.clock.began
        return Integration(name, challenge, IntegrationOptions(), settings, enabled, 1, made, self.clock())

    def host(self, challenge: str = "static", name: str = "corp", *, enabled: bool = True) -> IntegrationHost:
        """What a plugin of this integration is given."""
        return IntegrationHost(self.house, self.integration(challenge, {}, name, enabled=enabled))

    def load(
        self, challenge: str, settings: Mapping[str, Any], name: str = "corp", *, enabled: bool = True
    ) -> plugins.GuardedPlugin:
        """The live plugin, found by its entry point. ConfigurationError."""
        return self.house.load(self.integration(challenge, settings, name, enabled=enabled))

    def counted(self, plugin: str, event: str) -> float:
        """How often a plugin counted an event, from the exposition."""
        wanted = f'scep_server_plugin_events_total{{event="{event}",plugin="{plugin}"}} '
        lines = [line for line in self.metrics.exposition().decode().splitlines() if line.startswith(wanted)]
        return float(lines[0].removeprefix(wanted)) if lines else 0.0

    async def close(self) -> None:
        """End connections and close the ledger."""
        await self.outbound.close()
        self.ledger.close()


@asynccontextmanager
async def house(
    folder: Path,
    *,
    ca_file: Path | None = None,
    proxy: str | None = None,
    counters: Mapping[str, Mapping[str, str]] | None = None,
) -> AsyncIterator[HouseUnderTest]:
    """A house with a new ledger in this folder; see open_house."""
    opened = open_house(folder, ca_file=ca_file, proxy=proxy, counters=counters)
    try:
        yield opened
    finally:
        await opened.close()


def open_house(
    folder: Path,
    *,
    ca_file: Path | None = None,
    proxy: str | None = None,
    counters: Mapping[str, Mapping[str, str]] | None = None,
) -> HouseUnderTest:
    """The same, for whoever closes it himself.

    ca_file: PEM that outgoing HTTPS trusts beside the system's own. counters: plugin to event to help text, of plugins
    that are not installed.
    """
    settings = _premises()
    audit = settings.audit.model_copy(update={"heads": folder / "audit"})
    settings = settings.model_copy(update={"audit": audit})
    audit.heads.mkdir(mode=0o700)
    clock, metrics = TurnedClock(), Metrics(plugin_events={**_installed_counters(), **(counters or {})})
    url = f"sqlite:///{folder}/ledger.sqlite3"
    ledger = open_ledger(url, initialise=True, audit=open_audit(settings), clock=clock)
    changes = {"ca_file": ca_file, **({"proxy": proxy} if proxy else {})}
    outbound = HttpsClient(settings.outbound.model_copy(update=changes))
    certificates = read_ca_certificates(settings.ca.directory)
    made = House(
        public_url=settings.public_url,
        keys=SecretKeyFile(read_key(settings.secrets.key_file)),
        challenges=ledger.challenges,
        outbound=outbound,
        clock=clock,
        metrics=metrics,
        limits=Limits(),
        issuer=lambda: certificates.values,
        record=ledger.record,
    )
    return HouseUnderTest(made, ledger, clock, metrics, outbound)


@functools.cache
def _premises() -> Settings:
    """A first run's folder, made once a process; houses change nothing of it."""
    folder = Path(tempfile.mkdtemp(prefix="scep-server-testing-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return quickstart_settings(folder / "data", Plan("127.0.0.1:1", "127.0.0.1:2", "https://ca.test", "p256"))


@functools.cache
def _installed_counters() -> Mapping[str, Mapping[str, str]]:
    """Looking at everything that is installed takes a while."""
    return plugins.counters()
