"""`scep-server quickstart`: from nothing to a serving CA in one command; later runs serve what the first one made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scep_server.cli import output
from scep_server.cli.new_addresses import public_url_for, settled_listener
from scep_server.cli.options import Json, same, secret

if TYPE_CHECKING:
    from scep_server.assembly.integrations import Shown
    from scep_server.config import Settings


def quickstart(
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", envvar="SCEP_SERVER_DATA", help="Folder for everything it makes.")
    ] = Path("scep-data"),
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where devices connect (127.0.0.1:8080).")
    ] = None,
    admin_listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Health and metrics (127.0.0.1:9080).")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Base address as devices reach this server.")
    ] = None,
    key_type: Annotated[
        str, typer.Option(help="CA keys, on the first run: rsa2048, rsa3072, rsa4096, p256 or p384.")
    ] = "rsa3072",
    challenge: Annotated[
        str | None, typer.Option(metavar="VALUE", help="Secret, on the first run (visible to others; prefer a file).")
    ] = None,
    challenge_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Secret, on the first run, from a file.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that serve.")] = None,
    as_json: Json = False,
) -> None:
    """Make a CA, a ledger and an integration on the first run; serve until SIGTERM on every run."""
    from scep_server.assembly.first_run import Plan, default_integration, quickstart_settings  # noqa: PLC0415
    from scep_server.assembly.serving import serve  # noqa: PLC0415 - see options.settings_of
    from scep_server.cli.logs import configure_logging  # noqa: PLC0415
    from scep_server.config import FILE_NAME, load  # noqa: PLC0415

    given = secret(challenge, challenge_file, None, option="--challenge")
    data = data.resolve()
    first = not (data / FILE_NAME).exists()
    if listen is not None:
        listen = settled_listener(listen, "--listen")
        if public_url is None and (first or load(data / FILE_NAME).server.public_url is None):
            public_url = public_url_for(listen)
    if admin_listen is not None:
        admin_listen = settled_listener(admin_listen, "--admin-listen")
    plan = Plan(listen, admin_listen, public_url, key_type, workers=workers)
    with output.working(f"Making {key_type} keys …" if first else "Opening …"):
        settings = quickstart_settings(data, plan)
        shown = asyncio.run(default_integration(settings, given))
    record = _record(settings, data, shown)

    def on_ready() -> None:
        if as_json:
            output.json_line(record)
        else:
            _show(record, first=first)

    configure_logging(settings.log)
    serve(settings, on_ready)


def _record(settings: Settings, data: Path, shown: Shown) -> dict[str, str]:
    """The line that --json prints."""
    from scep_server.ca import Fingerprints, read_ca_certificates  # noqa: PLC0415

    certificates = read_ca_certificates(settings.ca.directory)
    root, issuing = Fingerprints.of(certificates.root), Fingerprints.of(certificates.issuing)
    return {
        "scep_url": settings.scep_url(shown.integration.name),
        "challenge": shown.secrets.get("challenge", ""),
        "integration": shown.integration.name,
        "root_sha256": root.sha256,
        "root_sha1": root.sha1,
        "issuing_ca_sha256": issuing.sha256,
        "issuing_ca_sha1": issuing.sha1,
        "admin_url": f"http://{settings.server.admin_address}",
        "data": str(data),
    }


def _show(record: dict[str, str], *, first: bool) -> None:
    data = record["data"]
    reveal = f"scep-server integration show {record['integration']} --reveal{same(Path(data))}"
    secret_text = record["challenge"] if first else f"see: {reveal}"
    output.panel(
        "scep-server is ready",
        {
            "SCEP URL": record["scep_url"],
            "Challenge": secret_text,
            "Root CA SHA-256": record["root_sha256"],
            "Root CA SHA-1": record["root_sha1"],
            "Issuing CA SHA-256": record["issuing_ca_sha256"],
            "Issuing CA SHA-1": record["issuing_ca_sha1"],
            "Health, metrics": record["admin_url"],
            "Everything is in": data,
        },
    )
    if first:
        print(f"The challenge is shown once; later with `{reveal}`.")
        print("It lets anybody who knows it enrol: put it into the MDM, nowhere else.")
    print("Next: give URL, challenge and fingerprint to the MDM, or enrol from another terminal of this machine.")
    print("This command reads the challenge from the keyboard (then Enter, Ctrl-D):")
    print(
        f"  scep-server client enroll --url {record['scep_url']} --subject 'CN=device 1' --out device-1 \\\n"
        f"    --challenge-file - --ca-fingerprint {record['root_sha256']}",
        flush=True,
    )
