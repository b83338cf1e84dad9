"""What travels between the house and its challenge plugins."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from scep_server.types.scep import Certificate, CertificationRequest, MessageType


@dataclass(frozen=True, slots=True)
class Source:
    """Where a request came from."""

    address: str
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One enrolment as a challenge plugin sees it."""

    integration: str
    transaction_id: str
    message_type: MessageType
    request: CertificationRequest
    source: Source
    received_at: datetime
    renews: bool = False
    """The house verified the certificate of this integration that it renews, whatever its message type."""


@dataclass(frozen=True, slots=True)
class NameBinding:
    """The names a challenge was made for; a certificate that would say anything else is refused (N16).

    Nothing set binds nothing. A subject or SANs bind all names: what is not listed must not be there; where only SANs
    are listed, the subject must be empty or one common name that repeats one of them.
    """

    subject: str | None = None
    """RFC 4514 text. Compared by attribute after case folding and white-space folding, in this order or the reverse."""
    sans: tuple[str, ...] | None = None
    """`dns:host`, `email:a@b`, `uri:deviceid://1`, `ip:192.0.2.1`, `upn:a@b`; the certificate's SANs must be among
    them.
    """
    device_ids: tuple[str, ...] = ()
    """One of them must stand, as a whole word, in a subject attribute or in a SAN."""

    def __bool__(self) -> bool:
        return self.subject is not None or self.sans is not None or bool(self.device_ids)


UNBOUND: Final = NameBinding()


@dataclass(frozen=True, slots=True)
class Grant:
    """A plugin's yes. It spends nothing itself: the ledger consumes what it names, in the intent's commit."""

    consumes: tuple[bytes, ...] = ()
    """MACs of one-time challenges; each becomes a unique ledger row."""
    reference: str = ""
    """Opaque to everyone but the plugin; stored with the entry (which static secret was used, for PWRI replies)."""
    pending: bool = False
    """The plugin wants an operator's approval first."""
    uses: int = 1
    """How many entries may consume each of these MACs, all together."""
    binding: NameBinding = UNBOUND
    """The names it was given for; the house holds the certificate against them before anything is spent."""


@dataclass(frozen=True, slots=True)
class OpenChallenge:
    """A one-time challenge that was minted and is not used up. Never the challenge itself: its keyed MAC."""

    integration: str
    mac: bytes = field(repr=False)
    minted_at: datetime
    expires_at: datetime
    uses: int = 1
    binding: NameBinding = UNBOUND
    sealed: str = field(default="", repr=False)
    """The challenge under the key file, where a client may encrypt with it (R49); empty otherwise."""
    lookups: tuple[bytes, ...] = field(default=(), repr=False)
    """Keyed MACs of what finds a sealed one without it: transaction id, canonical subject (R50)."""


@dataclass(frozen=True, slots=True)
class SpentChallenge:
    """What is left of a one-time challenge that was used up: the entry that had it (the last, of several)."""

    entry_id: int


@dataclass(frozen=True, slots=True)
class MintOrder:
    """What a one-time challenge shall admit."""

    binding: NameBinding = UNBOUND
    lifetime: timedelta | None = None
    """None: the integration's own."""
    uses: int = 1
    transaction_id: str | None = None
    """Keep it recoverable for a client whose key cannot decrypt, and find it by this transaction id (R50)."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A new one-time challenge, for whoever asked."""

    challenge: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PasswordHint:
    """What is known about a client that encrypts under its challenge, before anything is decrypted (R50)."""

    transaction_id: str = ""
    subject: str = ""
    """Canonical subject of the certificate that signed the message (Host.canonical_subject)."""
    reference: str = ""
    """Grant.reference of the entry, where there is one."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request to a plugin's route. Bounded in size by the listener."""

    method: str
    below: str
    """The path after the route, still escaped: empty, `/`, or more."""
    query: str
    """Raw, without the question mark."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case; repeated ones joined by a comma."""
    body: bytes = field(repr=False)
    source: Source
    confidential: bool
    """It came over TLS, from this machine, or from a trusted proxy: a password in it was not seen on the way."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer: a route's to a client, or a remote service's to us."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """A remote answer's, names in lower case; or what we send beside the content type and `no-store`."""


Route = Callable[[HttpRequest], Awaitable[HttpAnswer]]
"""Answers one request. Its ScepServerErrors go through web.errors; anything else it raises is a Fault."""


@dataclass(frozen=True, slots=True)
class OptionField:
    """One setting of a plugin, as `--setting KEY=VALUE` takes it."""

    name: str
    text: str
    """One line of help: meaning, unit, allowed values."""
    default: str = ""
    required: bool = False
    secret: bool = False
    """Taken from a file, the environment or standard input only, never from the command line."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a plugin's check of itself and what it talks to."""

    step: str
    """What was tried, in a few words."""
    passed: bool
    text: str
    """What was seen. Never a secret."""
    remedy: str = ""
    """What mends it, where it failed: the setting and where it is found."""


class NoticeKind(enum.StrEnum):
    """What a plugin is told about afterwards."""

    ISSUED = "issued"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened after a plugin's yes; kept until the plugin took it, told at least once."""

    id: str
    """The same each time it is told."""
    kind: NoticeKind
    integration: str
    at: datetime
    transaction_id: str
    subject: str
    """RFC 4514, for people."""
    entry_id: int | None = None
    reason: str = ""
    """Code of errors.Reason, or a few words, where it failed."""
    certificate: Certificate | None = field(default=None, repr=False)
    tries: int = 0
    """How often it was told before."""


class RevocationOutcome(enum.Enum):
    """What became of a revocation that a remote service asked for."""

    REVOKED = "revoked"
    ALREADY_REVOKED = "already_revoked"
    NOT_FOUND = "not_found"
    """No certificate of this integration has the serial."""
    UNREADABLE = "unreadable"
    """The serial is no number."""
    RETRY = "retry"
    """Ours, transient: ask again."""


@dataclass(frozen=True, slots=True)
class RevocationRequest:
    """A remote service asks to revoke one certificate of this integration."""

    context: str
    """Opaque; comes back with the result."""
    serial: int | None
    """None when what was sent is no number."""


@dataclass(frozen=True, slots=True)
class RevocationResult:
    """The answer to one RevocationRequest."""

    request: RevocationRequest
    outcome: RevocationOutcome


@dataclass(frozen=True, slots=True)
class PluginJob:
    """Background work of one integration, run by one process at a time across all that share a ledger."""

    name: str
    seconds: float
    """From the end of one run to the next."""
    run: Callable[[], Awaitable[None]]
