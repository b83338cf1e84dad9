"""`scep-server integration types`: the challenge plugins that are installed, and the settings each of them takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scep_server.cli import output
from scep_server.cli.failures import warn
from scep_server.cli.options import Json

if TYPE_CHECKING:
    from scep_server.types import OptionField


def types(
    kind: Annotated[
        str | None, typer.Argument(metavar="TYPE", show_default=False, help="Only this challenge plugin.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the challenge plugins and the settings each of them takes (one line of JSON each with --json)."""
    from scep_server import plugins  # noqa: PLC0415 - see options.settings_of
    from scep_server.errors import ConfigurationError  # noqa: PLC0415

    first = True
    for name in plugins.available() if kind is None else (kind,):
        try:
            fields = plugins.fields(name)
            addresses = plugins.addresses(name, "NAME")
        except ConfigurationError as error:
            if kind is not None:
                raise
            warn(str(error))
            continue
        if as_json:
            output.json_line(
                {"challenge_type": name, "addresses": dict(addresses), "settings": list(map(_record, fields))}
            )
            continue
        print(("" if first else "\n") + name)
        first = False
        for called, path in addresses.items():
            print(f"  {called}: {path}")
        first_secret = next((one for one in fields if one.secret), None)
        for one in fields:
            print(f"  {one.name}{_marks(one, first_secret=one is first_secret)}\n      {one.text}")


def _record(one: OptionField) -> dict[str, Any]:
    return {
        "name": one.name,
        "text": one.text,
        "default": one.default or None,
        "required": one.required,
        "secret": one.secret,
    }


def _marks(one: OptionField, *, first_secret: bool) -> str:
    marks = []
    if one.required:
        marks.append("required")
    if one.secret:
        marks.append("secret: --secret-file, --secret-env" if first_secret else "secret: --setting-file, --setting-env")
    if one.default:
        marks.append(f"default {one.default}")
    return f" ({'; '.join(marks)})" if marks else ""
