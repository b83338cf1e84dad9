"""The tree of commands: one file a group."""

from __future__ import annotations

from typing import Annotated

import typer

from scep_server.cli import (
    audit,
    cert,
    challenge,
    client,
    explain,
    initialise,
    integration,
    quickstart,
    reconcile,
    request,
    serve,
)
from scep_server.cli.failures import EXIT_CODES

application = typer.Typer(
    name="scep-server",
    help="A SCEP (RFC 8894) certificate authority for managed devices.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - see options.settings_of

        print(f"scep-server {version('scep-server')}")
        raise typer.Exit


@application.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


application.command("quickstart")(quickstart.quickstart)
application.command("init")(initialise.init)
application.command("serve")(serve.serve)
application.command("check")(serve.check)
application.add_typer(integration.commands, name="integration")
application.add_typer(challenge.commands, name="challenge")
application.add_typer(cert.commands, name="cert")
application.add_typer(request.commands, name="request")
application.add_typer(audit.commands, name="audit")
application.command("reconcile")(reconcile.reconcile)
application.command("explain")(explain.explain)
application.add_typer(client.commands, name="client")
