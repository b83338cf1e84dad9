"""`scep-server request`: requests that wait for an operator (RFC 8894 section 2.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scep_server.cli import output
from scep_server.cli.cert import record as certificate_record
from scep_server.cli.failures import REFUSED, CommandFailed
from scep_server.cli.options import Config, Data, Json, same, settings_of

if TYPE_CHECKING:
    from scep_server.types import Entry

commands = typer.Typer(help="Decide about requests that wait for approval.", no_args_is_help=True)

COLUMNS = ("id", "transaction_id", "subject", "requested_at", "source")

RequestId = Annotated[int, typer.Argument(metavar="ID", help="Number from `request list`.")]


@commands.command("list")
def list_(
    data: Data = None,
    config: Config = None,
    form: Annotated[output.Format, typer.Option("--format", help="For people or for programs.")] = output.Format.TABLE,
    integration: Annotated[str | None, typer.Option(help="Only this integration.")] = None,
) -> None:
    """List the requests that wait, oldest first."""
    from scep_server.ledger.reading import reading  # noqa: PLC0415 - see options.settings_of
    from scep_server.types import EntryState  # noqa: PLC0415

    settings = settings_of(data, config)
    with reading(settings.ledger.connection_url()) as ledger:
        output.rows(map(_record, ledger.entries(frozenset({EntryState.PENDING}), integration)), COLUMNS, form)


@commands.command()
def show(entry_id: RequestId, data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Show one request, whatever became of it."""
    from scep_server.ledger.reading import reading  # noqa: PLC0415

    settings = settings_of(data, config)
    with reading(settings.ledger.connection_url()) as ledger:
        entry = ledger.entry(entry_id)
    if entry is None:
        raise CommandFailed(
            f"there is no request {entry_id}; see `scep-server request list{same(data, config)}`", REFUSED
        )
    shown = _record(entry) | {
        "state": str(entry.state),
        "integration": entry.integration,
        "public_key_sha256": entry.request_key.hex(),
        "pickup_until": output.rfc3339(entry.pickup_until),
        "serial": None if entry.serial is None else f"{entry.serial:x}",
        "note": entry.note or None,
    }
    if as_json:
        output.json_line(shown)
    else:
        output.fields({name: value for name, value in shown.items() if value is not None})


@commands.command()
def approve(entry_id: RequestId, data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Issue the certificate of a waiting request; the device fetches it with its next poll."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            with _undecided():
                entry = await site.approve(entry_id)
            if as_json:
                output.json_line({"id": entry.id} | certificate_record(entry))
            else:
                print(f"approved request {entry.id}: {entry.subject}, serial {entry.serial or 0:x}")

    asyncio.run(run())


@commands.command()
def reject(
    entry_id: RequestId,
    data: Data = None,
    config: Config = None,
    note: Annotated[str, typer.Option(help="Why; kept in the ledger, not sent to the device.")] = "",
    as_json: Json = False,
) -> None:
    """Refuse a waiting request for good."""
    from scep_server.assembly.site import opened  # noqa: PLC0415

    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            with _undecided():
                entry = await site.reject(entry_id, note)
            if as_json:
                output.json_line({"id": entry.id, "state": str(entry.state), "note": entry.note})
            else:
                print(f"rejected request {entry.id}: {entry.subject}")

    asyncio.run(run())


@contextmanager
def _undecided() -> Iterator[None]:
    """A request that somebody decided before is a refusal, not an error."""
    from scep_server.enrollment.approval import NotPendingError  # noqa: PLC0415

    try:
        yield
    except NotPendingError as error:
        raise CommandFailed(str(error), REFUSED) from None


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "transaction_id": entry.transaction_id,
        "subject": entry.subject,
        "requested_at": output.rfc3339(entry.requested_at),
        "source": entry.source,
    }
