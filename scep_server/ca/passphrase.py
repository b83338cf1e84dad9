"""Where the passphrase of the CA keys comes from: a file, an environment variable, or a systemd credential."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from scep_server.ca.files import read_private_file, read_public_file
from scep_server.errors import ConfigurationError

MINIMUM_LENGTH = 8
"""Bytes. A shorter passphrase protects nothing against a copied key file."""


def read_passphrase(
    *,
    file: Path | None = None,
    environment: str | None = None,
    credential: str | None = None,
    variables: Mapping[str, str] = os.environ,
) -> bytes:
    """The passphrase from exactly one source.

    file: path of a 0600 file; one line end at its end is not part of the passphrase.
    environment: name of a variable.
    credential: name of a systemd credential ($CREDENTIALS_DIRECTORY/NAME).
    ConfigurationError when none or several are named, or the source is missing, open to others, empty or short.
    """
    named = [source for source in (file, environment, credential) if source is not None]
    if len(named) != 1:
        raise ConfigurationError(
            "name exactly one source of the CA passphrase: a file, an environment variable, or a systemd credential"
        )
    if file is not None:
        return check_passphrase(_without_line_end(read_private_file(file)), str(file))
    if environment is not None:
        value = variables.get(environment)
        if value is None:
            raise ConfigurationError(f"environment variable {environment} is to hold the CA passphrase and is not set")
        return check_passphrase(value.encode(), f"environment variable {environment}")
    return _read_credential(credential or "", variables)


def check_passphrase(passphrase: bytes, source: str) -> bytes:
    """The passphrase again. ConfigurationError when it is empty or shorter than MINIMUM_LENGTH bytes."""
    if len(passphrase) < MINIMUM_LENGTH:
        raise ConfigurationError(
            f"the CA passphrase from {source} has {len(passphrase)} bytes, at least {MINIMUM_LENGTH} are needed"
        )
    return passphrase


def _read_credential(name: str, variables: Mapping[str, str]) -> bytes:
    directory = variables.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        raise ConfigurationError(
            f"systemd credential {name!r} is to hold the CA passphrase, but CREDENTIALS_DIRECTORY is not set; "
            f"add LoadCredential={name}:/path to the unit"
        )
    if not name or "/" in name or name in {".", ".."}:
        raise ConfigurationError(f"{name!r} is no name of a systemd credential")
    # The mode is not looked at: systemd lets the service in by an ACL, which shows as group bits.
    return check_passphrase(_without_line_end(read_public_file(Path(directory) / name)), f"systemd credential {name}")


def _without_line_end(content: bytes) -> bytes:
    return content.removesuffix(b"\n").removesuffix(b"\r")
