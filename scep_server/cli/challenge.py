"""`scep-server challenge`: one-time challenges for programs and for people, without the HTTP address."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from scep_server.cli import output
from scep_server.cli.failures import USAGE, CommandFailed, warn
from scep_server.cli.options import Config, Data, Json, same, settings_of

LONGEST = 10_080
"""Minutes. Seven days, as the integrations' own setting lifetime_minutes."""
BATCH = 500
"""Challenges minted in one transaction. What was printed before a later batch fails is valid."""

commands = typer.Typer(help="Mint one-time challenges.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """Keeps `mint` a command of its own; a group of one would swallow it."""


@commands.command()
def mint(
    integration: Annotated[str, typer.Argument(metavar="INTEGRATION", help="An integration that mints challenges.")],
    count: Annotated[int, typer.Option("--count", min=1, max=100_000, metavar="N", help="How many.")] = 1,
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject",
            metavar="NAME",
            help="Admit this RFC 4514 subject only, and no alternative names but those of --san.",
        ),
    ] = None,
    san: Annotated[
        list[str] | None,
        typer.Option(
            "--san",
            metavar="TYPE:VALUE",
            help="Admit no other alternative names than these: dns:, email:, uri:, ip: or upn: (repeatable). "
            "Without --subject, a common name has to be one of them.",
        ),
    ] = None,
    device_id: Annotated[
        list[str] | None,
        typer.Option(
            "--device-id", metavar="ID", help="Admit names that contain this identifier as a word (repeatable: any)."
        ),
    ] = None,
    lifetime: Annotated[
        int | None,
        typer.Option(
            "--lifetime", min=1, max=LONGEST, metavar="MINUTES", help="Until it expires; else as the integration says."
        ),
    ] = None,
    uses: Annotated[int, typer.Option("--uses", min=1, metavar="N", help="Certificates for one challenge.")] = 1,
    transaction_id: Annotated[
        str | None,
        typer.Option("--transaction-id", metavar="ID", help="For an EC client that encrypts with the challenge."),
    ] = None,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Mint challenges and print them, one a line and nothing else. They are shown this once."""
    from scep_server.assembly.site import opened  # noqa: PLC0415 - see options.settings_of
    from scep_server.types import MintOrder, NameBinding  # noqa: PLC0415

    if transaction_id is not None and count > 1:
        raise CommandFailed("--transaction-id is for one challenge; leave out --count", USAGE)
    binding = NameBinding(subject=subject, sans=None if san is None else tuple(san), device_ids=tuple(device_id or ()))
    order = MintOrder(binding, None if lifetime is None else timedelta(minutes=lifetime), uses, transaction_id)
    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            if not site.integrations.show(integration).enabled:
                warn(
                    f"{integration} is disabled and refuses these challenges, until you run "
                    f"`scep-server integration set {integration} --enable{same(data, config)}`"
                )
            for start in range(0, count, BATCH):
                minted = await site.mint(integration, [order] * min(BATCH, count - start))
                for one in minted:
                    if as_json:
                        output.json_line({"challenge": one.challenge, "expires_at": output.rfc3339(one.expires_at)})
                    else:
                        print(one.challenge, flush=True)

    asyncio.run(run())
