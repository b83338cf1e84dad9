"""A challenge plugin's own settings from the command line: as they stand there, from files, from the environment.

Which of them are secret, the plugin says. A secret never stands on the command line, where everybody who may list
processes reads it; `--secret` is the one exception, and it warns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer

from scep_server.cli.failures import USAGE, CommandFailed
from scep_server.cli.options import pairs, secret, text_of

Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        metavar="KEY=VALUE",
        help="A setting of the challenge plugin; see `integration types` (repeatable).",
    ),
]
SettingFile = Annotated[
    list[str] | None,
    typer.Option(
        "--setting-file", metavar="KEY=PATH", help="The same, read from a file, or - for standard input (repeatable)."
    ),
]
SettingEnv = Annotated[
    list[str] | None,
    typer.Option("--setting-env", metavar="KEY=NAME", help="The same, from an environment variable (repeatable)."),
]
Secret = Annotated[
    str | None, typer.Option("--secret", metavar="VALUE", help="Use this secret (visible to others; prefer a file).")
]
SecretFile = Annotated[
    Path | None, typer.Option("--secret-file", metavar="FILE", help="Read the secret from a file (-: standard input).")
]
SecretEnv = Annotated[
    str | None, typer.Option("--secret-env", metavar="NAME", help="Read the secret from an environment variable.")
]

_RESERVED: Final = {"drop_old": "rotate-secret --drop-old", "keep_secret": "integration set"}
"""What the commands themselves tell a plugin, and the command that does."""


@dataclass(frozen=True, slots=True)
class Given:
    """The settings options of one command, as typed."""

    settings: Sequence[str] | None = None
    files: Sequence[str] | None = None
    variables: Sequence[str] | None = None
    secret: str | None = field(default=None, repr=False)
    secret_file: Path | None = None
    secret_env: str | None = None

    def __bool__(self) -> bool:
        return any((self.settings, self.files, self.variables)) or any(
            one is not None for one in (self.secret, self.secret_file, self.secret_env)
        )

    def for_plugin(self, challenge: str) -> dict[str, str]:
        """What a plugin of this type is given. CommandFailed for a secret among the visible ones, for one setting given
        twice, for an empty or unreadable one; ConfigurationError when the plugin is not installed.
        """
        from scep_server import plugins  # noqa: PLC0415 - see options.settings_of

        fields = plugins.fields(challenge)
        secrets = [one.name for one in fields if one.secret] if fields else ["challenge"]
        visible = pairs(self.settings, "--setting")
        for key in visible:
            _check_visible(key, secrets)
        found = [
            visible,
            {key: _filled(key, text_of(Path(path), f"--setting-file {key}:")) for key, path in self._files.items()},
            {key: _filled(key, os.environ.get(name, "")) for key, name in self._variables.items()},
            self._secret(challenge, secrets),
        ]
        return _joined(found)

    @property
    def _files(self) -> Mapping[str, str]:
        return pairs(self.files, "--setting-file")

    @property
    def _variables(self) -> Mapping[str, str]:
        return pairs(self.variables, "--setting-env")

    def _secret(self, challenge: str, secrets: Sequence[str]) -> Mapping[str, str]:
        value = secret(self.secret, self.secret_file, self.secret_env, option="--secret")
        if value is None:
            return {}
        if not secrets:
            raise CommandFailed(f"a {challenge} challenge takes no secret; it makes its own", USAGE)
        return {secrets[0]: value}


def _check_visible(key: str, secrets: Sequence[str]) -> None:
    if key in _RESERVED:
        raise CommandFailed(f"--setting {key} is no setting; use `{_RESERVED[key]}`", USAGE)
    if key in secrets:
        raise CommandFailed(
            f"{key} is a secret, and everybody on this machine can see the command line; give it with "
            f"--setting-file {key}=PATH or --setting-env {key}=NAME"
            + (", or with --secret-file or --secret-env" if key == secrets[0] else ""),
            USAGE,
        )


def _filled(key: str, value: str) -> str:
    if not value:
        raise CommandFailed(f"{key} is empty where it is read from", USAGE)
    return value


def _joined(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for one in found:
        if twice := sorted(joined.keys() & one):
            raise CommandFailed(f"{', '.join(twice)} is given twice; name one source", USAGE)
        joined |= one
    return joined
