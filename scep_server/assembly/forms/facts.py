"""What every form is filled from, and what a form is."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scep_server.ca import CaCertificates, read_ca_certificates
from scep_server.config import Settings
from scep_server.errors import ConfigurationError
from scep_server.types import Integration

HIDDEN: Final = "<shown with --reveal>"
LOST: Final = "<shown when it was made; `scep-server integration rotate-secret` makes a new one>"

RETRIES: Final = 3
RETRY_DELAY: Final = 10
"""Seconds. Apple's own defaults; they matter only while a request is PENDING."""
KEY_BITS: Final = 2048


class Mdm(enum.StrEnum):
    """Whose form is filled; `apple` is a profile file for any MDM that takes one."""

    JAMF = "jamf"
    WORKSPACE_ONE = "workspace-one"
    INTUNE = "intune"
    APPLE = "apple"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the forms are filled from."""

    integration: Integration
    scep_url: str
    addresses: Mapping[str, str]
    """The integration's other URLs, by name."""
    secrets: Mapping[str, str] = field(repr=False)
    """What the plugin can show again; each value is HIDDEN unless the operator asked to see it."""
    certificates: CaCertificates
    root_file: Path
    issuing_file: Path

    @property
    def fingerprint(self) -> bytes:
        """SHA-1 of the last certificate that GetCACert answers with: what Apple compares CAFingerprint with."""
        served = self.certificates.scep
        top = served[0] if self.integration.options.ca_certs == "single" else served[-1]
        return hashlib.sha1(top, usedforsecurity=False).digest()

    @property
    def pending_note(self) -> str:
        """What to know where a form asks for retries."""
        if self.integration.options.approval == "manual":
            return "every request waits for `scep-server request approve`; a device that gives up asks again later"
        return ""

    def secret(self, name: str) -> str:
        """A secret's value, or what stands in its place."""
        return self.secrets.get(name, LOST)

    def address(self, name: str) -> str:
        """One of the other URLs. ConfigurationError when the plugin has none of this name."""
        try:
            return self.addresses[name]
        except KeyError:
            raise ConfigurationError(
                f"the {self.integration.challenge} challenge of {self.integration.name} has no {name}"
            ) from None


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form."""

    name: str
    value: str = field(repr=False)
    """What to type, choose or tick; empty where the field stays empty."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """One form, and the way to it."""

    where: str
    fields: tuple[FormField, ...]


def gather(
    settings: Settings, integration: Integration, addresses: Mapping[str, str], secrets: Mapping[str, str]
) -> Facts:
    """The facts of one integration; reads the CA's certificates, no key. ConfigurationError when they are not there."""
    certificates = read_ca_certificates(settings.ca.directory)
    folder = settings.ca.directory
    root = folder / "root.pem"
    return Facts(
        integration=integration,
        scep_url=settings.scep_url(integration.name),
        addresses=addresses,
        secrets=secrets,
        certificates=certificates,
        root_file=root if root.exists() else folder / "issuing.pem",
        issuing_file=folder / "issuing.pem",
    )
