"""`scep-server audit`: is the trail of decisions whole?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scep_server.cli import output
from scep_server.cli.failures import REFUSED, CommandFailed
from scep_server.cli.options import Config, Data, Json, settings_of

commands = typer.Typer(help="Verify the audit trail.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """Keeps `verify` a subcommand of its own."""


@commands.command()
def verify(
    data: Data = None,
    config: Config = None,
    heads: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Head folder of a further machine that writes to this ledger (repeatable)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every event against the audit key and every chain's end against its head. Exit code 3 on a finding."""
    from scep_server import audit  # noqa: PLC0415 - see options.settings_of
    from scep_server.keyfile import read_key  # noqa: PLC0415
    from scep_server.ledger.reading import reading  # noqa: PLC0415

    settings = settings_of(data, config)
    key = read_key(settings.audit.key_file)
    found = seen = 0

    def progress(number: int) -> None:
        nonlocal seen
        seen = number

    with (
        reading(settings.ledger.connection_url()) as ledger,
        output.working("Verifying the audit trail …"),
    ):
        for finding in audit.verify(ledger.events(), key, [settings.audit.heads, *(heads or ())], ledger.id, progress):
            found += 1
            if as_json:
                output.json_line({"finding": str(finding)})
            else:
                print(finding, flush=True)
    if as_json:
        output.json_line({"events": seen, "findings": found})
    if found:
        raise CommandFailed(f"the audit trail is not whole: {found} finding(s) in {seen} events", REFUSED)
    if not as_json:
        print(f"the audit trail is whole: {seen} events")
