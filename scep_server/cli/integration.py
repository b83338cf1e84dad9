"""`scep-server integration`: the MDM connections, each with its own SCEP URL, challenge and options.

Changes reach running servers by themselves. A secret is shown when it is made; later only with --reveal, to those who
may read the key file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scep_server.cli import output
from scep_server.cli.failures import USAGE, CommandFailed
from scep_server.cli.options import Config, Data, Json, Reveal, secret, settings_of

if TYPE_CHECKING:
    from scep_server.config import Settings
    from scep_server.types import Integration

commands = typer.Typer(help="Add, change, rotate and delete MDM connections.", no_args_is_help=True)

COLUMNS = ("integration", "challenge_type", "enabled", "approval", "renewal", "scep_url")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The integration's name, as in its SCEP URL.")]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="renewal=on|off, approval=auto|manual, allow_sha1, allow_des3, lifetime_days, san_types, reply_chain, "
        "signing_time_window, … (repeatable).",
    ),
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--setting", metavar="KEY=VALUE", help="A setting of the challenge plugin itself (repeatable)."),
]
Secret = Annotated[
    str | None, typer.Option("--secret", metavar="VALUE", help="Use this secret (visible to others; prefer a file).")
]
SecretFile = Annotated[Path | None, typer.Option("--secret-file", metavar="FILE", help="Read the secret from a file.")]
SecretEnv = Annotated[
    str | None, typer.Option("--secret-env", metavar="NAME", help="Read the secret from an environment variable.")
]


@commands.command()
def add(
    name: Name,
    challenge: Annotated[str, typer.Option(metavar="TYPE", help="Challenge plugin, such as static.")],
    option: Option = None,
    setting: Setting = None,
    secret_: Secret = None,
    secret_file: SecretFile = None,
    secret_env: SecretEnv = None,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Add an integration. Its secret is generated unless given, and shown once."""
    from scep_server.assembly.site import opened  # noqa: PLC0415 - see options.settings_of

    options = _pairs(option, "--option")
    settings_given = _plugin_settings(setting, secret(secret_, secret_file, secret_env, option="--secret"))
    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            shown = await site.integrations.add(name, challenge, options, settings_given)
        _show_secrets(settings, name, shown.secrets, as_json=as_json)

    asyncio.run(run())


@commands.command("list")
def list_(
    data: Data = None,
    config: Config = None,
    form: Annotated[output.Format, typer.Option("--format", help="For people or for programs.")] = output.Format.TABLE,
) -> None:
    """List the integrations. Never shows a secret."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            output.rows((_record(settings, one) for one in site.integrations.list()), COLUMNS, form)

    asyncio.run(run())


@commands.command()
def show(name: Name, data: Data = None, config: Config = None, reveal: Reveal = False, as_json: Json = False) -> None:
    """Show one integration with all its options."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            record = _record(settings, site.integrations.show(name))
            revealed = site.integrations.reveal(name) if reveal else {}
        if reveal and not revealed:
            raise CommandFailed(f"the challenge plugin of {name} keeps no secret that could be shown")
        if as_json:
            output.json_line(record | dict(revealed))
        else:
            output.fields(record | dict(revealed))

    asyncio.run(run())


@commands.command("set")
def set_(
    name: Name,
    option: Option = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="A disabled integration refuses every enrolment.")
    ] = None,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change options, or switch the integration on or off."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    options = _pairs(option, "--option")
    if not options and enable is None:
        raise CommandFailed("nothing to change; give --option KEY=VALUE, --enable or --disable", USAGE)
    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            changed = await site.integrations.set(name, options, enabled=enable)
        if as_json:
            output.json_line(_record(settings, changed))
        else:
            print(f"changed {name}")

    asyncio.run(run())


@commands.command("rotate-secret")
def rotate_secret(
    name: Name,
    setting: Setting = None,
    secret_: Secret = None,
    secret_file: SecretFile = None,
    secret_env: SecretEnv = None,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="End the old secret now instead of with the next rotation.")
    ] = False,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a new secret; the one before stays valid until the next rotation."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    settings_given = _plugin_settings(setting, secret(secret_, secret_file, secret_env, option="--secret"))
    if drop_old:
        settings_given["drop_old"] = "yes"
    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            shown = await site.integrations.rotate(name, settings_given)
        _show_secrets(settings, name, shown.secrets, as_json=as_json)

    asyncio.run(run())


@commands.command()
def delete(
    name: Name,
    data: Data = None,
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an integration. Its certificates stay valid and stay in the ledger."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    settings = settings_of(data, config)
    if not yes:
        typer.confirm(f"Delete {name}? Its devices can no longer enrol.", abort=True, err=True)

    async def run() -> None:
        async with opened(settings) as site:
            await site.integrations.delete(name)
        print(f"deleted {name}")

    asyncio.run(run())


def _record(settings: Settings, integration: Integration) -> dict[str, Any]:
    from scep_server.assembly.options import options_record  # noqa: PLC0415

    return {
        "integration": integration.name,
        "scep_url": settings.scep_url(integration.name),
        "challenge_type": integration.challenge,
        "enabled": integration.enabled,
        "version": integration.version,
        "created_at": output.rfc3339(integration.created_at),
        "updated_at": output.rfc3339(integration.updated_at),
        **options_record(integration.options),
    }


def _show_secrets(settings: Settings, name: str, secrets: Mapping[str, str], *, as_json: bool) -> None:
    shown = {"integration": name, "scep_url": settings.scep_url(name), **secrets}
    if as_json:
        output.json_line(shown)
    else:
        output.panel("Put these into the MDM", shown, "Shown once; later with `scep-server integration show --reveal`.")


def _pairs(written: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in written or ():
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise CommandFailed(f"{option} {key or text!r} has no value; write KEY=VALUE", USAGE)
        if key in pairs:
            raise CommandFailed(f"{option} {key} is given twice", USAGE)
        pairs[key] = value
    return pairs


def _plugin_settings(written: Sequence[str] | None, challenge: str | None) -> dict[str, str]:
    pairs = _pairs(written, "--setting")
    if "challenge" in pairs:
        raise CommandFailed("a secret is no --setting; give it with --secret-file or --secret-env", USAGE)
    if challenge is not None:
        pairs["challenge"] = challenge
    return pairs
