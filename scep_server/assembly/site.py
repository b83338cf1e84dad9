"""Everything one process works with, wired from its settings: the record first, the CA when it is needed.

Commands that only read or change the ledger never load a key; those that issue do, and so does the server.
"""

from __future__ import annotations

import functools
import getpass
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.x509 import ReasonFlags

from scep_server import plugins
from scep_server.assembly.house import House
from scep_server.assembly.integrations import IntegrationDesk
from scep_server.assembly.plugin_jobs import Work, by_hand
from scep_server.audit import AuditTrail, Unmirrored
from scep_server.ca import CaCertificates, CaSet, load_ca, read_ca_certificates, read_passphrase
from scep_server.config import CaSettings, Settings
from scep_server.enrollment.approval import Approval
from scep_server.enrollment.issuing import Issuing
from scep_server.enrollment.offload import Offload, on
from scep_server.enrollment.reconcile import Reconciled, reconcile
from scep_server.enrollment.refusals import Limits
from scep_server.enrollment.registry import ActiveIntegration, Registry, activate
from scep_server.enrollment.stored_requests import StoredRequests
from scep_server.errors import ConfigurationError
from scep_server.interfaces import Challenges
from scep_server.keyfile import SecretKeyFile, read_key
from scep_server.ledger import Ledger, open_ledger
from scep_server.metrics import Metrics
from scep_server.outbound import HttpsClient
from scep_server.status import Outbox, Pulling, revoke
from scep_server.types import Entry, Finding, Integration, Minted, MintOrder, Notice, RevocationResult, Route

if TYPE_CHECKING:
    from scep_server.cache import RedisServer

OUTBOX_SECONDS: Final = 5.0
"""From one look for notices that are due to the next."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def operator() -> str:
    """Who runs this command, for the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def ca_passphrase(settings: CaSettings) -> bytes:
    """The passphrase of the CA keys, from the one source the settings name. Raises ConfigurationError."""
    kind, name = settings.passphrase_source
    if kind == "env":
        return read_passphrase(environment=name)
    if kind == "credential":
        return read_passphrase(credential=name)
    return read_passphrase(file=Path(name))


def open_audit(settings: Settings, *, mirrored: bool = True) -> AuditTrail:
    """An audit chain for one process, mirrored to standard error where nobody reads that in person.

    Raises ConfigurationError.
    """
    log = None if mirrored else Unmirrored()
    return AuditTrail(read_key(settings.audit.key_file), settings.audit.heads, log=log)


def load_authority(settings: Settings) -> CaSet:
    """The CA with its keys. Raises ConfigurationError."""
    return load_ca(settings.ca.directory, ca_passphrase(settings.ca), settings.public_url, clock=utc_now)


@dataclass(frozen=True, slots=True)
class Loaded:
    """An integration with its live plugin, None when that cannot be loaded."""

    integration: Integration
    plugin: plugins.GuardedPlugin | None
    active: ActiveIntegration


class Site:
    """One process's parts. `ca` and what depends on it load on first use."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        keys: SecretKeyFile,
        offload: Offload,
        metrics: Metrics | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.keys = keys
        self.offload = offload
        # A command is not scraped, and asking every plugin what it counts would load them all.
        self.metrics = metrics or Metrics()
        self.registry = Registry()
        self.stored = StoredRequests(keys, ledger)
        self.outbound = HttpsClient(settings.outbound)
        self.challenges: Challenges = ledger.challenges
        self._redis: RedisServer | None = None
        if settings.redis.enabled:
            self.challenges = self._in_redis()
        self._house = House(
            public_url=settings.public_url,
            keys=keys,
            challenges=self.challenges,
            outbound=self.outbound,
            clock=utc_now,
            metrics=self.metrics,
            limits=limits or Limits(),
            issuer=lambda: self._certificates.values,
            record=ledger.record,
            waiting=plugins.Waiting(settings.server.max_in_flight),
        )
        self._loaded: Mapping[str, Loaded] = {}
        self.integrations = IntegrationDesk(
            ledger, keys, utc_now, operator(), public_url=settings.public_url, try_out=self._house.load
        )

    async def close(self) -> None:
        """End what this process holds open, the ledger excepted."""
        await self.outbound.close()
        if self._redis is not None:
            await self._redis.aclose()

    async def ask_redis(self) -> None:
        """CacheUnavailable unless the Redis of the settings lets us read. Returns at once where none is configured."""
        if self._redis is not None:
            await self._redis.command("GET", "scep:check")  # below the prefix that its ACL grants; never set

    @functools.cached_property
    def ca(self) -> CaSet:
        """The CA with its keys."""
        return load_authority(self.settings)

    @functools.cached_property
    def issuing(self) -> Issuing:
        """The only way to a signature."""
        return Issuing(
            ledger=self.ledger,
            authority=self.ca.authority,
            stored=self.stored,
            metrics=self.metrics,
            offload=self.offload,
            clock=utc_now,
        )

    def activate(self) -> None:
        """Load every integration of the ledger. Raises ConfigurationError when one could not authorise safely (N3)."""
        self._swap([self._loaded_of(one) for one in self.ledger.integrations()])

    def reactivate(self) -> list[str]:
        """The same while serving: an integration that cannot be loaded answers with faults; one complaint for each."""
        complaints: list[str] = []
        loaded: list[Loaded] = []
        for integration in self.ledger.integrations():
            try:
                loaded.append(self._loaded_of(integration))
            except ConfigurationError as error:
                loaded.append(Loaded(integration, None, activate(integration, None)))
                complaints.append(str(error))
        self._swap(loaded)
        return complaints

    def plugin(self, name: str) -> plugins.GuardedPlugin | None:
        """The live plugin of an integration; None when it cannot be loaded. LookupError for an unknown name."""
        loaded = self._loaded.get(name)
        if loaded is None:
            raise LookupError("unknown integration")
        return loaded.plugin

    def route(self, template: str, integration: str) -> Route | None:
        """The plugin's handler for a path template (web.plugin_routes). LookupError for an unknown integration."""
        plugin = self.plugin(integration)
        return None if plugin is None else plugin.route(template)

    async def mint(self, name: str, orders: Sequence[MintOrder]) -> Sequence[Minted]:
        """New one-time challenges. ConfigurationError when the integration makes none, or when it would not certify the
        alternative names they are for; ChallengesFull, Fault.
        """
        return await self._tried(name).mint(orders, operator())

    async def check(self, name: str) -> Sequence[Finding]:
        """Whether an integration is switched on and can be loaded, and what its plugin finds about itself and what it
        talks to. ConfigurationError when it cannot tell.
        """
        integration = self.integrations.show(name)
        found = [_switched(integration)]
        try:
            plugin = self._house.load(integration)
        except ConfigurationError as error:
            mend = f"change the settings with `scep-server integration set {name}`, or the secret with `rotate-secret`"
            return [*found, Finding("settings", passed=False, text=str(error), remedy=mend)]
        return [*found, *await plugin.check()]

    async def sync(self, name: str) -> Sequence[RevocationResult]:
        """Fetch and do the revocations an integration is asked for, now. ConfigurationError, Fault."""
        plugin = self._tried(name)
        if plugin.pull_seconds is None:
            await plugin.revocation_requests()
        results: list[RevocationResult] = []

        async def run() -> None:
            results.extend(await self._pulling(name, plugin).run())

        await by_hand(self.ledger, Work(f"{name}/{plugins.PULLING}", 0.0, run), utc_now)
        return results

    def work(self) -> Sequence[Work]:
        """The background work of all integrations, as they are now."""
        wanted = [Work("outbox", OUTBOX_SECONDS, self._outbox.run)]
        for name, loaded in self._loaded.items():
            plugin = loaded.plugin
            if plugin is None or not loaded.integration.enabled:
                continue
            if plugin.pull_seconds is not None:
                wanted.append(Work(f"{name}/{plugins.PULLING}", plugin.pull_seconds, self._pulling(name, plugin).run))
            wanted += [
                Work(f"{name}/{job.name}", job.seconds, functools.partial(plugin.run, job)) for job in plugin.jobs
            ]
        return wanted

    async def expire_challenges(self) -> None:
        """Count the one-time challenges that expired unspent, and forget the old ones."""
        self.metrics.challenges.inc("expired", await self.challenges.expire(utc_now()))

    async def approve(self, entry_id: int) -> Entry:
        """Issue a pending request's certificate. Raises NotPendingError or Refusal; ConfigurationError when its
        integration was deleted, Fault when that cannot be loaded. What is wrong with another one does not matter.
        """
        await self.offload(self.reactivate)
        entry = self.ledger.entry(entry_id)
        if entry is not None:
            self._served(entry).judge()
        return await self._approval.approve(entry_id, operator())

    async def reject(self, entry_id: int, note: str = "") -> Entry:
        """Refuse a pending request, and have its plugin told. Raises NotPendingError."""
        await self.offload(self.reactivate)
        return await self._approval.reject(entry_id, operator(), note)

    async def revoke(self, serial: int, reason: ReasonFlags, *, issuer_id: str) -> Entry:
        """Revoke a certificate now; running servers renew the CRL within seconds. LookupError when it is unknown."""
        return await revoke(self.ledger, issuer_id, serial, reason, utc_now(), source=operator())

    async def reconcile(self) -> Reconciled:
        """Bring unfinished entries to an end; those of an integration that cannot be loaded wait for it."""
        await self.offload(self.reactivate)
        return await reconcile(self.ledger, self.registry, self.issuing, self.stored, utc_now)

    @functools.cached_property
    def _approval(self) -> Approval:
        return Approval(
            ledger=self.ledger,
            listings=self.ledger,
            registry=self.registry,
            issuing=self.issuing,
            authority=self.ca.authority,
            stored=self.stored,
            clock=utc_now,
            forbidden_keys=self.ca.forbidden_keys,
            forbidden_subjects=self.ca.forbidden_subjects,
        )

    def _served(self, entry: Entry) -> ActiveIntegration:
        try:
            return self.registry.of(entry)
        except LookupError:
            raise ConfigurationError(
                f"integration {entry.integration!r} of request {entry.id} was deleted, so nothing says what to issue; "
                f"run `scep-server request reject {entry.id}`"
            ) from None

    def _in_redis(self) -> Challenges:
        """Whether a challenge is spent the ledger says, and what was minted before there was a Redis it still has."""
        from scep_server.cache import RedisChallenges, connect  # noqa: PLC0415 - 0.1 s that few commands need

        self._redis = connect(self.settings.redis)
        elsewhere, record = self.ledger.challenges, self.ledger.record
        return RedisChallenges(self._redis, self.keys, clock=utc_now, elsewhere=elsewhere, record=record)

    @functools.cached_property
    def _outbox(self) -> Outbox:
        return Outbox(self.ledger, self._told, self.metrics, utc_now)

    def _told(self, notice: Notice) -> plugins.GuardedPlugin | None:
        """Not a plugin of the same name that came after it: a notice holds names and a certificate."""
        loaded = self._loaded.get(notice.integration)
        if loaded is None or notice.at < loaded.integration.created_at:
            raise LookupError("the integration was deleted")
        return loaded.plugin

    def _pulling(self, name: str, plugin: plugins.GuardedPlugin) -> Pulling:
        return Pulling(name, self._certificates.issuer_id, plugin, self.ledger, self.metrics, utc_now)

    def _tried(self, name: str) -> plugins.GuardedPlugin:
        """The plugin of one integration, for a command: what is wrong with another one does not matter."""
        return self._house.load(self.integrations.show(name))

    def _loaded_of(self, integration: Integration) -> Loaded:
        """Loaded anew only where something changed: a plugin may hold tokens, caches and what it waits for."""
        known = self._loaded.get(integration.name)
        if known is not None and known.plugin is not None and known.integration == integration:
            return known
        plugin = self._house.load(integration)
        return Loaded(integration, plugin, activate(integration, plugin))

    def _swap(self, loaded: Sequence[Loaded]) -> None:
        self._loaded = {one.integration.name: one for one in loaded}
        self.registry.replace({name: one.active for name, one in self._loaded.items()})

    @functools.cached_property
    def _certificates(self) -> CaCertificates:
        return read_ca_certificates(self.settings.ca.directory)


def _switched(integration: Integration) -> Finding:
    """A disabled integration refuses everybody, however well its plugin is."""
    return Finding(
        "integration",
        passed=integration.enabled,
        text="enabled" if integration.enabled else "disabled: it refuses every enrolment",
        remedy=f"`scep-server integration set {integration.name} --enable`",
    )


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Site]:
    """A Site for the time of a command. Raises ConfigurationError or LedgerUnusable."""
    keys = SecretKeyFile(read_key(settings.secrets.key_file))
    audit = open_audit(settings, mirrored=False)
    ledger = open_ledger(settings.ledger.connection_url(), audit=audit, check_pages=False)
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="scep")
    site = Site(settings, ledger, keys, on(pool))
    try:
        yield site
    finally:
        await site.close()
        pool.shutdown()
        ledger.close()
