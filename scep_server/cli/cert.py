"""`scep-server cert`: what was issued, and taking it back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scep_server.cli import output
from scep_server.cli.failures import REFUSED, USAGE, CommandFailed
from scep_server.cli.options import Config, Data, Json, same, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scep_server.types import Entry

commands = typer.Typer(help="List, show and revoke certificates.", no_args_is_help=True)

COLUMNS = ("serial", "state", "integration", "subject", "not_after", "issued_at")
LISTED = frozenset({"intended", "signed", "issued", "revoked"})
"""States with a certificate, or one about to be. `--state` asks for others."""

Serial = Annotated[str, typer.Argument(metavar="SERIAL", help="Serial number in hex; colons are allowed.")]


@commands.command("list")
def list_(
    data: Data = None,
    config: Config = None,
    form: Annotated[output.Format, typer.Option("--format", help="For people or for programs.")] = output.Format.TABLE,
    state: Annotated[
        list[str] | None, typer.Option(help="Only this state (repeatable): intended, signed, issued, revoked, failed.")
    ] = None,
    integration: Annotated[str | None, typer.Option(help="Only this integration.")] = None,
) -> None:
    """List certificates, oldest first."""
    from scep_server.ledger.reading import reading  # noqa: PLC0415 - see options.settings_of
    from scep_server.types import EntryState  # noqa: PLC0415

    try:
        states = frozenset(EntryState(one) for one in state or LISTED)
    except ValueError as error:
        raise CommandFailed(f"--state: {error}; choose one of {', '.join(EntryState)}", USAGE) from None
    settings = settings_of(data, config)
    with reading(settings.ledger.connection_url()) as ledger:
        output.rows(map(record, ledger.entries(states, integration)), COLUMNS, form)


@commands.command()
def show(serial: Serial, data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Show one certificate, with its PEM."""
    from scep_server.ledger.reading import reading  # noqa: PLC0415

    number = parse_serial(serial, same(data, config))
    settings = settings_of(data, config)
    with reading(settings.ledger.connection_url()) as ledger:
        for entry in _found(ledger.find_serial(number), number):
            _print(entry, as_json=as_json)


@commands.command()
def revoke(
    serial: Serial,
    data: Data = None,
    config: Config = None,
    reason: Annotated[
        str, typer.Option(help="unspecified, keyCompromise, superseded, cessationOfOperation, …")
    ] = "unspecified",
    issuer: Annotated[str | None, typer.Option(help="Issuer id, where two CAs used the same serial.")] = None,
    as_json: Json = False,
) -> None:
    """Revoke a certificate; the CRL is renewed at once."""
    from scep_server.assembly.site import opened  # noqa: PLC0415
    from scep_server.status.revoke import parse_reason  # noqa: PLC0415

    flag = parse_reason(reason)
    number = parse_serial(serial, same(data, config))
    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            found = [one for one in site.ledger.find_serial(number) if issuer is None or one.issuer_id == issuer]
            entries = _found(found, number)
            if len(entries) > 1:
                ids = ", ".join(str(one.issuer_id) for one in entries)
                raise CommandFailed(f"several issuers used serial {number:x} ({ids}); name one with --issuer", USAGE)
            entry = await site.revoke(number, flag, issuer_id=str(entries[0].issuer_id))
            if as_json:
                output.json_line(record(entry) | _revocation(entry))
            else:
                print(f"revoked {number:x} at {output.rfc3339(entry.revoked_at)}")

    asyncio.run(run())


def record(entry: Entry) -> dict[str, Any]:
    """A certificate as the list commands print it."""
    return {
        "serial": None if entry.serial is None else f"{entry.serial:x}",
        "state": str(entry.state),
        "integration": entry.integration,
        "transaction_id": entry.transaction_id,
        "subject": entry.subject,
        "public_key_sha256": entry.request_key.hex(),
        "not_before": output.rfc3339(entry.not_before),
        "not_after": output.rfc3339(entry.not_after),
        "issued_at": output.rfc3339(entry.issued_at),
    }


def parse_serial(text: str, same: str) -> int:
    """A serial number in hex, as certificates show it. same: options.same. Raises CommandFailed."""
    digits = text.replace(":", "").removeprefix("0x").removeprefix("0X")
    try:
        if len(digits) <= 64:
            return int(digits, 16)
    except ValueError:
        pass
    raise CommandFailed(f"{text!r} is no serial number in hex; copy it from `scep-server cert list{same}`", USAGE)


def _found(entries: Iterable[Entry], number: int) -> list[Entry]:
    found = list(entries)
    if not found:
        raise CommandFailed(f"the ledger knows no certificate with serial {number:x}", REFUSED)
    return found


def _print(entry: Entry, *, as_json: bool) -> None:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    pem = None
    if entry.certificate is not None:
        pem = x509.load_der_x509_certificate(entry.certificate).public_bytes(Encoding.PEM).decode()
    shown = record(entry) | {
        "id": entry.id,
        "issuer_id": entry.issuer_id,
        "source": entry.source,
        "requested_at": output.rfc3339(entry.requested_at),
        "renews": entry.renews,
        "note": entry.note or None,
        **_revocation(entry),
    }
    if as_json:
        output.json_line(shown | {"pem": pem})
        return
    output.fields({name: value for name, value in shown.items() if value is not None})
    if pem:
        print(pem, end="")


def _revocation(entry: Entry) -> dict[str, str | None]:
    reason = entry.revocation_reason
    return {
        "revoked_at": output.rfc3339(entry.revoked_at),
        "revocation_reason": None if reason is None else str(reason.value),
    }
