"""From a file and the environment to settings, or to one line for each key that is wrong."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from scep_server.config.settings import ENVIRONMENT_PREFIX, Settings
from scep_server.errors import ConfigurationError

FILE_NAME: Final = "scep-server.toml"


def load(path: Path) -> Settings:
    """The settings of one file and the environment. ConfigurationError names key, cause and remedy."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist; make it with `scep-server init`, or name another with --config"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); check its owner and mode") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}; correct that line") from None
    return from_mapping(content, folder=path.resolve().parent, origin=str(path))


def from_mapping(content: Mapping[str, Any], *, folder: Path, origin: str = "configuration") -> Settings:
    """The settings of a parsed file; relative paths are taken from folder. Raises ConfigurationError."""
    _refuse_unknown_environment()
    try:
        settings = Settings(**content)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origin)) from None
    except SettingsError as error:
        raise ConfigurationError(
            f"environment: {error}; set single keys, as {ENVIRONMENT_PREFIX}SECTION__KEY"
        ) from None
    return settings.model_copy(update={name: section.below(folder) for name, section in settings.sections()})


def _refuse_unknown_environment() -> None:
    """pydantic-settings looks up known names only, so a misspelt section would be ignored without this."""
    for name in os.environ:
        section, nested, _ = name.upper().removeprefix(ENVIRONMENT_PREFIX).partition("__")
        if name.upper().startswith(ENVIRONMENT_PREFIX) and nested and section.lower() not in Settings.model_fields:
            known = ", ".join(Settings.model_fields)
            raise ConfigurationError(f"environment variable {name} names no section; the sections are {known}")


def _explain(error: ValidationError, origin: str) -> str:
    """One line for every wrong key. Values are not repeated: one may be a secret put in the wrong place."""
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            text = f"unknown key; {_nearest(fault['loc'])}"
        else:
            text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{origin}: {key + ': ' if key else ''}{text}")
    return "\n".join(lines)


def _nearest(location: tuple[int | str, ...]) -> str:
    fields: list[str] = list(Settings.model_fields)
    if len(location) > 1:
        section = Settings.model_fields[str(location[0])].annotation
        fields = list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
    close = difflib.get_close_matches(str(location[-1]), fields, n=1)
    return f"did you mean {close[0]}?" if close else f"remove it (known here: {', '.join(fields)})"
