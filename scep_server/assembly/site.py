"""Everything one process works with, wired from its settings: the record first, the CA when it is needed.

Commands that only read or change the ledger never load a key; those that issue do, and so does the server.
"""

from __future__ import annotations

import functools
import getpass
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.x509 import ReasonFlags

from scep_server import plugins
from scep_server.assembly.integrations import IntegrationDesk
from scep_server.audit import AuditTrail
from scep_server.ca import CaSet, load_ca, read_passphrase
from scep_server.config import CaSettings, Settings
from scep_server.enrollment.approval import Approval
from scep_server.enrollment.issuing import Issuing
from scep_server.enrollment.offload import Offload, on
from scep_server.enrollment.reconcile import Reconciled, reconcile
from scep_server.enrollment.registry import ActiveIntegration, Registry, activate
from scep_server.enrollment.stored_requests import StoredRequests
from scep_server.errors import ConfigurationError
from scep_server.keyfile import SecretKeyFile, read_key
from scep_server.ledger import Ledger, open_ledger
from scep_server.metrics import Metrics
from scep_server.status.revoke import revoke
from scep_server.types import Entry, Integration


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


def open_audit(settings: Settings) -> AuditTrail:
    """An audit chain for one process. Raises ConfigurationError."""
    return AuditTrail(read_key(settings.audit.key_file), settings.audit.heads)


def load_authority(settings: Settings) -> CaSet:
    """The CA with its keys. Raises ConfigurationError."""
    return load_ca(settings.ca.directory, ca_passphrase(settings.ca), settings.public_url, clock=utc_now)


class Site:
    """One process's parts. `ca` and what depends on it load on first use."""

    def __init__(
        self, settings: Settings, ledger: Ledger, keys: SecretKeyFile, offload: Offload, metrics: Metrics | None = None
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.keys = keys
        self.offload = offload
        self.metrics = metrics or Metrics()
        self.registry = Registry()
        self.stored = StoredRequests(keys, ledger)
        self.integrations = IntegrationDesk(ledger, keys, utc_now, operator())

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
        self.registry.replace({one.name: self._active(one) for one in self.ledger.integrations()})

    def reactivate(self) -> list[str]:
        """The same while serving: an integration that cannot be loaded answers with faults; one complaint for each."""
        complaints: list[str] = []
        active: dict[str, ActiveIntegration] = {}
        for integration in self.ledger.integrations():
            try:
                active[integration.name] = self._active(integration)
            except ConfigurationError as error:
                active[integration.name] = activate(integration, None)
                complaints.append(str(error))
        self.registry.replace(active)
        return complaints

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
        """Refuse a pending request. Raises NotPendingError."""
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
            return self.registry.get(entry.integration)
        except LookupError:
            raise ConfigurationError(
                f"integration {entry.integration!r} of request {entry.id} was deleted, so nothing says what to issue; "
                f"run `scep-server request reject {entry.id}`"
            ) from None

    def _active(self, integration: Integration) -> ActiveIntegration:
        plugin = plugins.load(integration.challenge, integration.name, integration.settings, self.keys)
        return activate(integration, plugin)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Site]:
    """A Site for the time of a command. Raises ConfigurationError or LedgerUnusable."""
    keys = SecretKeyFile(read_key(settings.secrets.key_file))
    ledger = open_ledger(settings.ledger.connection_url(), audit=open_audit(settings), check_pages=False)
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="scep")
    try:
        yield Site(settings, ledger, keys, on(pool))
    finally:
        pool.shutdown()
        ledger.close()
