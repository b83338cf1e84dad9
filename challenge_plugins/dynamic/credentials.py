"""Credentials of those who may ask for challenges: generated, shown once, kept as keyed MACs, two generations valid.

Two generations, so that an MDM can be given the new one without a gap; each may hold several ways to show that one has
it (a login, a token, a header).
"""

from __future__ import annotations

import enum
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from scep_server.errors import ConfigurationError
from scep_server.interfaces import KeyFile

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
"""Every form, shell and header carries these unharmed."""
SECRET_LENGTH: Final = 32
"""190 bits of this alphabet."""
KEPT_GENERATIONS: Final = 2
_MAC_BYTES: Final = 32


class Way(enum.StrEnum):
    """How a credential is shown in a request."""

    BASIC = "basic"
    BEARER = "bearer"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows, not yet believed."""

    way: Way
    name: str
    """User name of a login, name of a header, empty for a token."""
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """One way in."""

    generation: str
    way: Way
    name: str
    mac: bytes = field(repr=False)
    created_at: str

    @property
    def label(self) -> str:
        """Who asked, in the audit and for limits. Holds nothing that a client sent."""
        return f"{self.way} {self.name}".rstrip() + f" ({self.generation})"

    def record(self) -> dict[str, str]:
        """As it is stored."""
        return {
            "generation": self.generation,
            "way": self.way.value,
            "name": self.name,
            "mac": self.mac.hex(),
            "created_at": self.created_at,
        }


def new_secret() -> str:
    """A password, a token or a header's value."""
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))


def new_login(name: str = "") -> Presented:
    """A login with this name, or with one of `scep-` and six hexadecimal digits, and a new password."""
    return Presented(Way.BASIC, name or "scep-" + secrets.token_hex(3), new_secret())


def new_generation(integration: str, ways: Sequence[Presented], keys: KeyFile) -> list[dict[str, str]]:
    """Records of one new generation."""
    generation = secrets.token_hex(4)
    created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        Credential(generation, one.way, one.name, _mac(integration, one.way, one.secret, keys), created_at).record()
        for one in ways
    ]


def with_generation(
    newest: Sequence[Mapping[str, str]], before: Sequence[Mapping[str, str]]
) -> list[Mapping[str, str]]:
    """The records to store after a rotation: the newest generation and the one before it."""
    records = [*newest, *before]
    generations = list(dict.fromkeys(record["generation"] for record in records))[:KEPT_GENERATIONS]
    return [record for record in records if record["generation"] in generations]


def newest_generation(records: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Those of the records that were made last, all ways of them."""
    return [record for record in records if record["generation"] == records[0]["generation"]]


class Credentials:
    """The valid credentials of one integration."""

    def __init__(self, integration: str, stored: Sequence[Mapping[str, Any]], keys: KeyFile) -> None:
        """ConfigurationError when there is none, or one that is no record of new_generation (N3)."""
        self._integration = integration
        self._keys = keys
        self.known = tuple(_credential(integration, record) for record in stored)
        if not self.known:
            raise ConfigurationError(
                f"integration {integration} has no credentials, so nobody could ask it for a challenge; "
                f"run `scep-server integration rotate-secret {integration}`"
            )

    def match(self, presented: Presented) -> Credential | None:
        """The credential that was shown. Takes as long for a wrong name as for a wrong secret (N18)."""
        secret = _mac(self._integration, presented.way, presented.secret, self._keys)
        name = self._name_mac(presented.name)
        found = None
        for credential in self.known:
            same_secret = hmac.compare_digest(secret, credential.mac)
            same_name = hmac.compare_digest(name, self._name_mac(credential.name))
            # A secret of another way has another MAC.
            if same_secret & same_name:
                found = credential
        return found

    def _name_mac(self, name: str) -> bytes:
        return self._keys.mac(name.encode(), f"credential-name:{self._integration}")


def _mac(integration: str, way: Way, secret: str, keys: KeyFile) -> bytes:
    return keys.mac(secret.encode(), f"credential:{way.value}:{integration}")


def _credential(integration: str, record: Mapping[str, Any]) -> Credential:
    try:
        read = Credential(
            generation=record["generation"],
            way=Way(record["way"]),
            name=record["name"],
            mac=bytes.fromhex(record["mac"]),
            created_at=record["created_at"],
        )
    except (KeyError, TypeError, ValueError):
        read = None
    if read is None or len(read.mac) != _MAC_BYTES:
        raise ConfigurationError(
            f"a stored credential of integration {integration} cannot be read; "
            f"run `scep-server integration rotate-secret {integration} --drop-old`"
        )
    return read
