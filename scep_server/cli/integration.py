"""`scep-server integration`: the MDM connections, each with its own SCEP URL, challenge and options.

Changes reach running servers by themselves. A secret is shown when it is made; later only with --reveal, to those who
may read the key file, and only where the plugin keeps it in a form that can be shown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scep_server.cli import integration_asking, integration_panel, integration_types, mdm_form, output
from scep_server.cli.failures import USAGE, CommandFailed
from scep_server.cli.mdm_form import For
from scep_server.cli.options import Config, Data, Json, Reveal, config_path, pairs, same, settings_of
from scep_server.cli.plugin_settings import Given, Secret, SecretEnv, SecretFile, Setting, SettingEnv, SettingFile

if TYPE_CHECKING:
    from scep_server.assembly.site import Site
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


@commands.command()
def add(
    name: Name,
    challenge: Annotated[str, typer.Option(metavar="TYPE", help="Challenge plugin; see `integration types`.")],
    option: Option = None,
    setting: Setting = None,
    setting_file: SettingFile = None,
    setting_env: SettingEnv = None,
    secret: Secret = None,
    secret_file: SecretFile = None,
    secret_env: SecretEnv = None,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Add an integration. Its secret is generated unless given, and shown once."""
    from scep_server.assembly.site import opened  # noqa: PLC0415 - see options.settings_of

    options = pairs(option, "--option")
    given = Given(setting, setting_file, setting_env, secret, secret_file, secret_env).for_plugin(challenge)
    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            shown = await site.integrations.add(name, challenge, options, given)
            integration_panel.show_added(site, shown, same(data, config), as_json=as_json)

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
            output.rows((_record(site, one) for one in site.integrations.list()), COLUMNS, form)

    asyncio.run(run())


@commands.command()
def show(
    name: Name,
    data: Data = None,
    config: Config = None,
    mdm: For = None,
    reveal: Reveal = False,
    as_json: Json = False,
) -> None:
    """Show one integration with all its options and settings, or what to type into an MDM for it."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            if mdm is not None:
                where = mdm_form.Where(config_path(data, config), same(data, config))
                mdm_form.show(site, name, mdm, where, reveal=reveal, as_json=as_json)
                return
            record = _record(site, site.integrations.show(name))
            revealed = site.integrations.reveal(name) if reveal else {}
        if reveal and not revealed:
            raise CommandFailed(
                f"the challenge plugin of {name} keeps no secret that could be shown; `rotate-secret` replaces it"
            )
        if as_json:
            output.json_line(record | dict(revealed))
        else:
            in_force = {f"settings.{setting}": text for setting, text in record.pop("settings").items()}
            output.fields(record | in_force | dict(revealed))

    asyncio.run(run())


@commands.command("set")
def set_(
    name: Name,
    option: Option = None,
    setting: Setting = None,
    setting_file: SettingFile = None,
    setting_env: SettingEnv = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="A disabled integration refuses every enrolment.")
    ] = None,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="End the secret before the current one, which stays.")
    ] = False,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change options or settings, switch the integration on or off, or end its older secret. Its current one stays."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    options = pairs(option, "--option")
    given = Given(setting, setting_file, setting_env)
    if not options and not given and enable is None and not drop_old:
        raise CommandFailed(
            "nothing to change; give --option KEY=VALUE, --setting KEY=VALUE, --enable, --disable or --drop-old", USAGE
        )
    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            changes = given.for_plugin(site.integrations.show(name).challenge)
            changed = await site.integrations.set(name, options, changes, enabled=enable, drop_old=drop_old)
            record = _record(site, changed)
        if as_json:
            output.json_line(record)
        else:
            print(f"changed {name}")

    asyncio.run(run())


@commands.command("rotate-secret")
def rotate_secret(
    name: Name,
    setting: Setting = None,
    setting_file: SettingFile = None,
    setting_env: SettingEnv = None,
    secret: Secret = None,
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

    given = Given(setting, setting_file, setting_env, secret, secret_file, secret_env)
    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            changes = given.for_plugin(site.integrations.show(name).challenge)
            if drop_old:
                changes["drop_old"] = "yes"
            shown = await site.integrations.rotate(name, changes)
            integration_panel.show_rotated(site, shown, same(data, config), dropped=drop_old, as_json=as_json)

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


commands.command("test")(integration_asking.try_out)
commands.command("sync")(integration_asking.sync)
commands.command("types")(integration_types.types)


def _record(site: Site, integration: Integration) -> dict[str, Any]:
    from scep_server.assembly.options import options_record  # noqa: PLC0415

    return {
        "integration": integration.name,
        "scep_url": site.settings.scep_url(integration.name),
        **site.integrations.addresses(integration),
        "challenge_type": integration.challenge,
        "enabled": integration.enabled,
        "version": integration.version,
        "created_at": output.rfc3339(integration.created_at),
        "updated_at": output.rfc3339(integration.updated_at),
        **options_record(integration.options),
        "settings": dict(site.integrations.settings(integration)),
    }
