"""The integrations a running process serves, read from the ledger and swapped whole when they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scep_server.codec.capabilities import ca_caps
from scep_server.errors import Fault
from scep_server.interfaces import ChallengePlugin
from scep_server.types import (
    Allowed,
    Cipher,
    Digest,
    Entry,
    Integration,
    IntegrationOptions,
    MessageType,
    PasswordHint,
)

ALWAYS_TYPES = frozenset({MessageType.PKCS_REQ, MessageType.CERT_POLL, MessageType.GET_CERT, MessageType.GET_CRL})
ALWAYS_DIGESTS = frozenset({Digest.SHA256, Digest.SHA384, Digest.SHA512})
ALWAYS_CIPHERS = frozenset({Cipher.AES128_CBC, Cipher.AES192_CBC, Cipher.AES256_CBC})


def allowed(options: IntegrationOptions) -> Allowed:
    """The allow-lists of an integration: RenewalReq, SHA-1 and 3DES are there only when switched on (R2, R17, R37)."""
    return Allowed(
        message_types=ALWAYS_TYPES | ({MessageType.RENEWAL_REQ} if options.renewal else frozenset()),
        digests=ALWAYS_DIGESTS | ({Digest.SHA1} if options.allow_sha1 else frozenset()),
        ciphers=ALWAYS_CIPHERS | ({Cipher.DES3_CBC} if options.allow_des3 else frozenset()),
    )


class Judge(ChallengePlugin, Protocol):
    """A challenge plugin behind its guard: only our errors come out, and optional abilities always answer."""

    confirm_blocks_release: bool
    """True when confirm() must succeed before a certificate leaves."""
    judges_renewals: bool
    """True when a renewal needs the plugin's yes as well."""
    takes_notices: bool
    """True when the plugin is told afterwards what became of its yes."""

    async def reveal(self, hint: PasswordHint) -> Sequence[bytes]:
        """Candidate passwords for password recipients, the likelier first; empty when the plugin knows of none."""
        ...


@dataclass(frozen=True, slots=True)
class ActiveIntegration:
    """One integration, ready to serve."""

    integration: Integration
    plugin: Judge | None
    """None when its settings could not be loaded: requests get a Fault until an operator mends them."""
    allowed: Allowed
    caps: bytes

    @property
    def name(self) -> str:
        """The integration's name, as in its SCEP URL."""
        return self.integration.name

    @property
    def options(self) -> IntegrationOptions:
        """Its switches."""
        return self.integration.options

    def let_in(self, entry: Entry) -> bool:
        """False for an entry of an integration of the same name that was deleted before this one was made."""
        return entry.requested_at >= self.integration.created_at

    def judge(self) -> Judge:
        """The challenge plugin. Fault when its settings are unusable: nobody is let in by a broken check."""
        if self.plugin is None:
            raise Fault(f"challenge settings of integration {self.name} cannot be loaded")
        return self.plugin


def activate(integration: Integration, plugin: Judge | None) -> ActiveIntegration:
    """Precompute what does not change between requests."""
    permitted = allowed(integration.options)
    return ActiveIntegration(integration, plugin, permitted, ca_caps(permitted))


class Registry:
    """Name to ActiveIntegration. Readers see one consistent mapping; `replace` swaps it."""

    def __init__(self) -> None:
        self._active: Mapping[str, ActiveIntegration] = {}

    def get(self, name: str) -> ActiveIntegration:
        """LookupError when there is none of this name."""
        active = self._active.get(name)
        if active is None:
            raise LookupError("unknown integration")
        return active

    def of(self, entry: Entry) -> ActiveIntegration:
        """The integration that let an entry in. LookupError when it was deleted, whoever has its name now."""
        active = self.get(entry.integration)
        if not active.let_in(entry):
            raise LookupError("the integration was deleted, and another has its name")
        return active

    def replace(self, active: Mapping[str, ActiveIntegration]) -> None:
        """Swap the whole mapping."""
        self._active = dict(active)
