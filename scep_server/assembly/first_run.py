"""Makes what a server needs and does not have yet: folders, keys, CA, ledger, configuration, first integration.

Steps are ordered so that an interrupted run is completed by the next one: the configuration file comes last, and once
it exists nothing that it names is ever made again silently (a missing database is an error then, F5).
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scep_server.assembly.integrations import Shown
from scep_server.assembly.site import ca_passphrase, open_audit, opened
from scep_server.ca import create_hierarchy
from scep_server.config import FILE_NAME, Settings, from_mapping, load
from scep_server.errors import ConfigurationError
from scep_server.keyfile import create_key
from scep_server.ledger import open_ledger

PRIVATE: Final = 0o700
DEFAULT_INTEGRATION: Final = "default"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a first run may choose."""

    listen: str | None = None
    admin_listen: str | None = None
    public_url: str | None = None
    key_type: str = "rsa3072"
    scep_identity: str = "ra"
    workers: int | None = None


def quickstart_settings(data: Path, plan: Plan) -> Settings:
    """Everything under one folder, made or completed; later runs reuse it.

    On a later run the plan's addresses apply to this run only. ConfigurationError when the folder holds something
    else, or a CA of another key type was asked for.
    """
    path = data / FILE_NAME
    if path.exists():
        return with_addresses(load(path), data, plan)
    make_private(data)
    server = _server_table(plan)
    settings = from_mapping({"server": server}, folder=data.resolve(), origin=str(path))
    create_material(settings, plan)
    create_ledger(settings)
    write_once(path, _configuration_text(server))
    return load(path)


def with_addresses(settings: Settings, folder: Path, plan: Plan) -> Settings:
    """Settings with the addresses that this run was given on the command line."""
    changes = _server_table(plan)
    if not changes:
        return settings
    server = type(settings.server).model_validate(settings.server.model_dump() | changes)
    return settings.model_copy(update={"server": server})


def create_material(settings: Settings, plan: Plan) -> None:
    """Keys, passphrase and CA, each only where it is missing. Raises ConfigurationError."""
    create_key_files(settings)
    if not settings.ca.directory.exists():
        create_hierarchy(
            settings.ca.directory,
            ca_passphrase(settings.ca),
            key_type=plan.key_type,
            scep_identity=plan.scep_identity,
            crl_shards=settings.ca.crl_shards,
        )


def create_key_files(settings: Settings) -> None:
    """Key files and the CA's passphrase file, each only where it is missing. Raises ConfigurationError."""
    for folder in (settings.secrets.key_file.parent, settings.audit.key_file.parent, settings.audit.heads):
        make_private(folder)
    for key_file in (settings.secrets.key_file, settings.audit.key_file):
        if not key_file.exists():
            create_key(key_file)
    kind, name = settings.ca.passphrase_source
    if kind == "file" and not Path(name).exists():
        make_private(Path(name).parent)
        write_once(Path(name), secrets.token_urlsafe(32) + "\n")


def create_ledger(settings: Settings) -> None:
    """An initialised ledger: made when there is none, brought up to date when it is older. Raises LedgerUnusable."""
    open_ledger(settings.ledger.connection_url(), initialise=True, audit=open_audit(settings)).close()


async def default_integration(settings: Settings, challenge: str | None) -> Shown:
    """The integration that quickstart serves, made on the first run, with its secret.

    challenge: the operator's own secret; ConfigurationError when another one is in force already.
    """
    async with opened(settings) as site:
        names = [integration.name for integration in site.integrations.list()]
        if not names:
            given: Mapping[str, str] = {} if challenge is None else {"challenge": challenge}
            return await site.integrations.add(DEFAULT_INTEGRATION, "static", {}, given)
        if DEFAULT_INTEGRATION not in names:
            raise ConfigurationError(
                f"integration {DEFAULT_INTEGRATION!r}, which quickstart shows, was deleted; "
                "use `scep-server serve` with your own integrations"
            )
        shown = Shown(site.integrations.show(DEFAULT_INTEGRATION), site.integrations.reveal(DEFAULT_INTEGRATION))
        if challenge is not None and challenge not in shown.secrets.values():
            raise ConfigurationError(
                "this folder has another challenge already; leave --challenge out, or change it with "
                f"`scep-server integration rotate-secret {DEFAULT_INTEGRATION}`"
            )
        return shown


def make_private(folder: Path) -> None:
    """A folder of mode 0700, with its parents. ConfigurationError when it cannot be made."""
    try:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"folder {folder} cannot be made: {error.strerror}; check its parent's owner"
        ) from None


def write_once(path: Path, text: str) -> None:
    """A new file of mode 0600, synced. ConfigurationError when it is there already or cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _server_table(plan: Plan) -> dict[str, str | int]:
    wanted = {
        "listen": plan.listen,
        "admin_listen": plan.admin_listen,
        "public_url": plan.public_url,
        "workers": plan.workers,
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _configuration_text(server: Mapping[str, str | int]) -> str:
    lines = [
        "# Made by `scep-server quickstart`. Every other key has its default; see conf/scep-server.toml.",
        "",
        "[server]",
        *(f"{key} = {json.dumps(value)}" for key, value in server.items()),
        "",
    ]
    return "\n".join(lines)
