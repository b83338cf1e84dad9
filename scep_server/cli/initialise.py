"""`scep-server init`: make the CA, the ledger and the key files that a configuration names, or take over a CA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scep_server.cli import output
from scep_server.cli.failures import USAGE, CommandFailed
from scep_server.cli.options import Config, Data, Json, config_path, secret, warn_of_root

if TYPE_CHECKING:
    from scep_server.config import Settings

_IMPORT = "Taking over a CA"


def init(
    data: Data = None,
    config: Config = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Written to a configuration file that init makes.")
    ] = None,
    key_type: Annotated[str, typer.Option(help="CA keys: rsa2048, rsa3072, rsa4096, p256 or p384.")] = "rsa3072",
    ra_key_type: Annotated[str, typer.Option(help="RA key: rsa2048, rsa3072 or rsa4096.")] = "rsa2048",
    scep_identity: Annotated[
        str, typer.Option(help="ra: a certificate of its own reads requests; ca: the RSA CA itself does.")
    ] = "ra",
    root_name: Annotated[
        str, typer.Option(metavar="CN", help="Common name of the root.")
    ] = "Organization Root Authority",
    intermediate_name: Annotated[
        str, typer.Option(metavar="CN", help="Common name of the issuing CA.")
    ] = "Organization Intermediate Authority",
    ra_name: Annotated[
        str, typer.Option(metavar="CN", help="Common name of the RA.")
    ] = "Organization SCEP Registration Authority",
    keep_ca: Annotated[
        bool, typer.Option("--keep-ca", help="The CA is there already: make only what else is missing.")
    ] = False,
    import_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Existing CA: its key, PEM, mode 0600.", rich_help_panel=_IMPORT)
    ] = None,
    import_chain: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Existing CA: its certificate and those above, PEM.", rich_help_panel=_IMPORT
        ),
    ] = None,
    import_p12: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Existing CA: PKCS#12 with key and chain.", rich_help_panel=_IMPORT),
    ] = None,
    import_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Passphrase of what is imported.", rich_help_panel=_IMPORT)
    ] = None,
    import_passphrase_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The same, from the environment.", rich_help_panel=_IMPORT)
    ] = None,
    as_json: Json = False,
) -> None:
    """Make CA, ledger and key files. Refuses to overwrite any of them."""
    from scep_server.assembly import first_run  # noqa: PLC0415 - see options.settings_of
    from scep_server.assembly.site import ca_passphrase  # noqa: PLC0415
    from scep_server.ca import (  # noqa: PLC0415
        HierarchyNames,
        create_hierarchy,
        import_pem,
        import_pkcs12,
        read_ca_certificates,
    )

    _check_import(import_key, import_chain, import_p12, keep_ca=keep_ca)
    typed = secret(None, import_passphrase_file, import_passphrase_env, option="--import-passphrase")
    unlock = None if typed is None else typed.encode()
    path = config_path(data, config)
    settings, text = _configured(path, public_url)
    warn_of_root(settings)
    first_run.make_private(path.resolve().parent)
    first_run.create_key_files(settings)
    passphrase = ca_passphrase(settings.ca)
    directory, shards = settings.ca.directory, settings.ca.crl_shards
    with output.working(f"Making {key_type} keys …"):
        if keep_ca:
            read_ca_certificates(directory)
        elif import_p12 is not None:
            import_pkcs12(
                directory,
                passphrase,
                file=import_p12,
                file_passphrase=unlock,
                scep_identity=scep_identity,
                ra_key_type=ra_key_type,
                crl_shards=shards,
            )
        elif import_key is not None:
            import_pem(
                directory,
                passphrase,
                key_file=import_key,
                key_passphrase=unlock,
                chain_files=import_chain or (),
                scep_identity=scep_identity,
                ra_key_type=ra_key_type,
                crl_shards=shards,
            )
        else:
            create_hierarchy(
                directory,
                passphrase,
                key_type=key_type,
                ra_key_type=ra_key_type,
                scep_identity=scep_identity,
                names=HierarchyNames(root_name, intermediate_name, ra_name),
                crl_shards=shards,
            )
        first_run.create_ledger(settings)
    if text is not None:
        # Last: a configuration that exists names only what exists.
        first_run.write_once(path, text)
    _report(settings, path, as_json=as_json)


def _configured(path: Path, public_url: str | None) -> tuple[Settings, str | None]:
    """The settings of the file; or, where there is none, of one to be written, with its text."""
    from scep_server.config import from_mapping, load  # noqa: PLC0415

    if path.exists():
        if public_url is not None:
            raise CommandFailed(f"{path} exists; set public_url there", USAGE)
        return load(path), None
    server = {} if public_url is None else {"public_url": public_url}
    settings = from_mapping({"server": server}, folder=path.resolve().parent, origin=str(path))
    lines = [
        "# Made by `scep-server init`. Every other key has its default; see conf/scep-server.toml.",
        "",
        "[server]",
    ]
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in server.items()]
    return settings, "\n".join(lines) + "\n"


def _check_import(key: Path | None, chain: list[Path] | None, p12: Path | None, *, keep_ca: bool) -> None:
    if keep_ca and (key is not None or chain or p12 is not None):
        raise CommandFailed("--keep-ca keeps the CA that is there; leave the --import options out", USAGE)
    if p12 is not None and (key is not None or chain):
        raise CommandFailed("--import-p12 holds key and chain; leave --import-key and --import-chain out", USAGE)
    if (key is None) != (not chain):
        raise CommandFailed("--import-key and --import-chain belong together", USAGE)


def _report(settings: Settings, path: Path, *, as_json: bool) -> None:
    from scep_server.ca import Fingerprints, read_ca_certificates  # noqa: PLC0415

    certificates = read_ca_certificates(settings.ca.directory)
    root, issuing = Fingerprints.of(certificates.root), Fingerprints.of(certificates.issuing)
    record = {
        "config": str(path),
        "ca": str(settings.ca.directory),
        "root_sha256": root.sha256,
        "root_sha1": root.sha1,
        "issuing_ca_sha256": issuing.sha256,
        "issuing_ca_sha1": issuing.sha1,
    }
    if as_json:
        output.json_line(record)
        return
    output.panel("The CA is made", record)
    if (settings.ca.directory / "root.key.pem").exists():
        print(f"Move {settings.ca.directory}/root.key.pem offline: the server never needs it.")
    print(f"Next: scep-server integration add NAME --challenge static --config {path}")
