"""Options that several commands share, each declared once, and what they stand for."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scep_server.cli.failures import USAGE, CommandFailed, warn

if TYPE_CHECKING:
    from scep_server.config import Settings

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="SCEP_SERVER_DATA", help="Folder that quickstart made."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", envvar="SCEP_SERVER_CONFIG", help="Configuration file."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show the secret; needs read access to the key file.")]


def config_path(data: Path | None, config: Path | None) -> Path:
    """The configuration file meant by --data DIR (DIR/scep-server.toml) or --config FILE."""
    if data is not None and config is not None:
        raise CommandFailed("--data and --config name two configurations; give one of them", USAGE)
    if config is not None:
        return config
    if data is None:
        raise CommandFailed(
            "which configuration? Give --data DIR or --config FILE, or set SCEP_SERVER_DATA or SCEP_SERVER_CONFIG",
            USAGE,
        )
    return data / "scep-server.toml"


def same(data: Path | None, config: Path | None = None) -> str:
    """` --data DIR` or ` --config FILE` for the end of a command that a message names, so that it can be typed."""
    if data is not None:
        return f" --data {shlex.quote(str(data))}"
    return "" if config is None else f" --config {shlex.quote(str(config))}"


def settings_of(data: Path | None, config: Path | None) -> Settings:
    """The settings that --data or --config name. Raises ConfigurationError."""
    from scep_server.config import load  # noqa: PLC0415 - pydantic is slow to import, and --help does not need it

    settings = load(config_path(data, config))
    warn_of_root(settings)
    return settings


def warn_of_root(settings: Settings) -> None:
    """Say so when root works in a folder of the user that serves: what root makes there, that user cannot read."""
    if os.geteuid() != 0:
        return
    state = settings.audit.heads.absolute()
    there = next(folder for folder in (state, *state.parents) if folder.exists())
    owner = there.stat().st_uid
    if owner != 0:
        warn(
            f"you are root, and {there} belongs to {_user_name(owner)}: files made now may lock that user out; "
            "run commands as the user that serves"
        )


def _user_name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid {uid}"


def secret(typed: str | None, file: Path | None, variable: str | None, *, option: str) -> str | None:
    """A secret from the command line (with a warning), a file or an environment variable; None when none is named.

    Raises CommandFailed when two are named or the named one is empty.
    """
    named = [source for source in (typed, file, variable) if source is not None]
    if len(named) > 1:
        raise CommandFailed(f"{option} is given twice; name one source", USAGE)
    if typed is not None:
        warn(
            f"{option} on the command line is visible to other users (ps) and kept in shell history; use {option}-file"
        )
        value = typed
    elif file is not None:
        value = text_of(file, f"{option}-file")
    elif variable is not None:
        value = os.environ.get(variable, "")
    else:
        return None
    if not value:
        raise CommandFailed(f"{option} is empty; an empty secret would let everybody in", USAGE)
    return value


def text_of(file: Path, option: str) -> str:
    """What a file (`-`: standard input) holds, without the line end that editors add. Raises CommandFailed."""
    try:
        text = sys.stdin.read() if file == Path("-") else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{option} {file} cannot be read: {error}") from None
    return text.rstrip("\r\n")


def pairs(written: Sequence[str] | None, option: str) -> dict[str, str]:
    """KEY=VALUE options as they were repeated. Raises CommandFailed for one without a value, or given twice."""
    found: dict[str, str] = {}
    for text in written or ():
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise CommandFailed(f"{option} {key or text!r} has no value; write KEY=VALUE", USAGE)
        if key in found:
            raise CommandFailed(f"{option} {key} is given twice", USAGE)
        found[key] = value
    return found
