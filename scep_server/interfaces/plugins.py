"""Challenge plugins: what one must be, what it may be beside, and what the house offers it.

A plugin is found by entry point, made by its factory, and called through plugins.GuardedPlugin. Abilities beside
judging are protocols of one or two methods; a plugin has one by having its methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from scep_server.errors import Refusal
from scep_server.interfaces.ledger import Challenges
from scep_server.types import (
    Attempt,
    Certificate,
    Event,
    Finding,
    Grant,
    HttpAnswer,
    Minted,
    MintOrder,
    Notice,
    OptionField,
    PasswordHint,
    PluginJob,
    RevocationRequest,
    RevocationResult,
    Route,
    Source,
)

# --- what a plugin is


class ChallengePlugin(Protocol):
    """Judges whether a request may have a certificate. One instance serves one integration."""

    async def redeem(self, attempt: Attempt) -> Grant:
        """Grant: yes. Refusal: no. Fault: cannot tell (503). Judges only; the ledger spends what the Grant names."""
        ...

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Called after the certificate is on record and before it is released; must be repeatable. Default: nothing.
        A Refusal revokes the certificate: it is never released.
        """
        ...

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Told of a failure after redeem said yes, best effort; never changes the answer."""
        ...


class ChallengePluginFactory(Protocol):
    """What an entry point of group `scep_server.challenge_plugins` names: a module-level object or class."""

    def create(
        self, integration: str, options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Settings to store for a new integration, and what to show the operator once ({"challenge": ...})."""
        ...

    def rotate(
        self, integration: str, settings: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The same for rotate-secret and for changed settings: new settings and what to show once."""
        ...

    def shown(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Mapping[str, str]:
        """What `--reveal` shows; empty when nothing is recoverable."""
        ...

    def load(self, integration: str, settings: Mapping[str, Any], host: Host) -> ChallengePlugin:
        """The live plugin. ConfigurationError when the settings cannot authorise anybody safely (N3). Made again
        whenever its integration changes; it may keep what it learned in memory until then.
        """
        ...


# --- what a factory may be beside


@runtime_checkable
class DescribesSettings(Protocol):
    """A factory that says which settings it takes: for help texts, and so that secrets never come as arguments."""

    fields: Sequence[OptionField]
    """`--secret`, `--secret-file` and `--secret-env` fill the first one that is secret; without any, `challenge`."""


@runtime_checkable
class ShowsSettings(Protocol):
    """A factory that can tell which settings an integration has (`integration show`)."""

    def settings_in_force(self, settings: Mapping[str, Any]) -> Mapping[str, str]:
        """Name to value as an operator writes it, defaults included. Declared fields only, and none that is secret."""
        ...


@runtime_checkable
class HasAddresses(Protocol):
    """A factory whose integrations have URLs beside the SCEP URL."""

    addresses: Mapping[str, str]
    """Name to path, as in {"challenge_url": "/scep/{integration}/mscep_admin/"}; shown below public_url."""


@runtime_checkable
class DeclaresCounters(Protocol):
    """A factory whose plugins count what they do (Host.count)."""

    counters: Mapping[str, str]
    """Event to its help text; exported as scep_server_plugin_events_total{plugin, event}."""


# --- what a plugin may be beside


@runtime_checkable
class ConfirmsRelease(Protocol):
    """A plugin whose confirm() must succeed before a certificate leaves (Intune)."""

    confirm_blocks_release: bool


@runtime_checkable
class JudgesRenewals(Protocol):
    """A plugin that is asked about renewals too. Others are not: the old certificate authorises (RFC 8894 section 2.3).
    One whose confirm() blocks release is always asked: it could not confirm what it never saw.
    """

    judges_renewals: bool


@runtime_checkable
class RevealsSecret(Protocol):
    """A plugin that can recover its secret, as password recipients need it (RFC 8894 section 7.3, R49, R50)."""

    async def reveal(self, hint: PasswordHint) -> Sequence[bytes]:
        """At most two candidate passwords for this client, the likelier first."""
        ...


@runtime_checkable
class Mints(Protocol):
    """A plugin that makes one-time challenges (`scep-server challenge mint`)."""

    async def mint(self, orders: Sequence[MintOrder], requester: str) -> Sequence[Minted]:
        """One challenge an order, all kept or none. requester: who asked, for the audit.
        ConfigurationError for an order that cannot be; ChallengesFull, TooManyAttempts, Fault.
        """
        ...


@runtime_checkable
class HasRoutes(Protocol):
    """A plugin that answers HTTP requests on the public listener: challenge pages, webhooks."""

    def routes(self) -> Mapping[str, Route]:
        """Path template to handler. Two forms: `/scep/{integration}/NAME` and `/webhooks/NAME/{integration}`; NAME is
        compared in lower case, and what follows it in the path is the request's `below`.
        """
        ...


@runtime_checkable
class HasJobs(Protocol):
    """A plugin with background work."""

    def jobs(self) -> Sequence[PluginJob]:
        """Asked for once, when the plugin was loaded."""
        ...


@runtime_checkable
class PullsRevocations(Protocol):
    """A plugin that knows of certificates to revoke (Intune). The house revokes; only this integration's own."""

    pull_seconds: float
    """From the end of one pull to the next."""

    async def revocation_requests(self) -> Sequence[RevocationRequest]:
        """Some of what waits; empty when nothing does. Asked again until it is empty. May repeat what was answered."""
        ...

    async def revocations_done(self, results: Sequence[RevocationResult]) -> None:
        """Tell the results. Called once a batch, after the revocations are on record; must be repeatable."""
        ...


@runtime_checkable
class TakesNotices(Protocol):
    """A plugin that is told afterwards what became of its yes: at least once, never in the way of the reply (F22)."""

    async def notified(self, notice: Notice) -> None:
        """Returning takes it. Fault: told again later, for three days. Refusal: given up now."""
        ...


@runtime_checkable
class ChecksItself(Protocol):
    """A plugin that can try out its settings and what it talks to (`scep-server integration test`)."""

    async def check(self) -> Sequence[Finding]:
        """One finding a step, in order; a failed one says what mends it. Learned tokens are dropped first."""
        ...


# --- what the house offers


class KeyFile(Protocol):
    """Protects plugin secrets at rest, under a key file of its own."""

    def encrypt(self, plaintext: bytes, context: str) -> str:
        """Printable token; context (integration and purpose) is authenticated."""
        ...

    def decrypt(self, token: str, context: str) -> bytes:
        """Raises ConfigurationError when the token is not of this key file or context."""
        ...

    def mac(self, value: bytes, context: str) -> bytes:
        """HMAC-SHA-256 under a key derived for this context: for what is compared and never shown again."""
        ...


class Outbound(Protocol):
    """HTTPS to other services: the operating system's trust store, the operator's proxy, no redirects followed."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 15.0,  # noqa: ASYNC109 - one limit over name look-up, connection and answer
        max_bytes: int = 1 << 20,
    ) -> HttpAnswer:
        """Any answer, whatever its status, comes back. OutboundFault for everything else: no connection, no trust, no
        answer within timeout seconds, more than max_bytes.
        """
        ...


class Host(Protocol):
    """What the house offers the plugin of one integration."""

    integration: str
    public_url: str
    """Base address as devices and MDMs see it, without a trailing slash."""
    keys: KeyFile
    challenges: Challenges
    outbound: Outbound
    clock: Callable[[], datetime]

    def enabled(self) -> bool:
        """False while the operator has switched the integration off."""
        ...

    def issuer(self) -> Sequence[Certificate]:
        """Issuing CA first, root last; public certificates only."""
        ...

    def canonical_subject(self, text: str) -> str:
        """RFC 4514 text in the one form in which equal names are equal texts (folded as NameBinding compares).
        ValueError when it is no name.
        """
        ...

    def count(self, event: str, amount: int = 1) -> None:
        """Count one of the factory's declared events; others count as `other`."""
        ...

    async def record(self, events: Sequence[Event]) -> None:
        """Audit. Returns after the commit; LedgerUnavailable."""
        ...

    def throttle(self, what: str, per_minute: int) -> None:
        """Take one of per_minute tokens of `what` in this integration, in all workers of this machine together.
        TooManyAttempts with the seconds to wait when none is left.
        """
        ...

    def wrong_password(self, source: Source) -> None:
        """Count a wrong password of this source. TooManyAttempts from the sixth within a minute on; a right password
        is not asked about, so it is accepted all the while (N18).
        """
        ...
