"""Integration options as operators write them (`--option key=value`) and as they are kept."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from scep_server.errors import ConfigurationError
from scep_server.types import SAN_TYPES, IntegrationOptions

ON: Final = frozenset({"on", "true", "yes", "1"})
OFF: Final = frozenset({"off", "false", "no", "0"})


def parse_options(
    current: IntegrationOptions, written: Mapping[str, str], settings: Collection[str] = ()
) -> IntegrationOptions:
    """Current options with the written ones applied. ConfigurationError names the key, the cause and the remedy.

    settings: names of what the integration's plugin takes, which is easily written in the wrong place.
    """
    changes: dict[str, Any] = {}
    for key, value in written.items():
        parser = PARSERS.get(key)
        if parser is None and key in settings:
            raise ConfigurationError(f"{key} is a setting of the plugin: use --setting {key}=…")
        if parser is None:
            close = difflib.get_close_matches(key, PARSERS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the options are {', '.join(sorted(PARSERS))}"
            raise ConfigurationError(f"there is no option {key!r}; {hint}")
        try:
            changes[key] = parser(value.strip())
        except ValueError as error:
            raise ConfigurationError(f"option {key}={value}: {error}") from None
    return dataclasses.replace(current, **changes)


def refuse_options(given: Collection[str], settings: Collection[str]) -> None:
    """ConfigurationError for an option among the settings of a plugin that says which it takes."""
    for key in given:
        if settings and key not in settings and key in PARSERS:
            raise ConfigurationError(f"{key} is an option of the integration: use --option {key}=…")


def options_record(options: IntegrationOptions) -> dict[str, Any]:
    """The options as JSON values, as `integration show` prints them."""
    record = dataclasses.asdict(options)
    record["san_types"] = sorted(options.san_types)
    return record


def _switch(value: str) -> bool:
    lowered = value.lower()
    if lowered in ON:
        return True
    if lowered in OFF:
        return False
    raise ValueError("write on or off")


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"write one of {', '.join(choices)}")
        return value

    return parse


def _number(low: int, high: int, unit: str) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise ValueError(f"write a whole number of {unit} from {low} to {high}")
        return int(value)

    return parse


def _or_off(number: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda value: None if value.lower() in OFF else number(value)


def _san_types(value: str) -> frozenset[str]:
    wanted = frozenset(part.strip() for part in value.split(",") if part.strip()) - {"none"}
    unknown = sorted(wanted - SAN_TYPES)
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; the types are {', '.join(sorted(SAN_TYPES))}, or none")
    return wanted


PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "renewal": _switch,
    "approval": _choice("auto", "manual"),
    "allow_sha1": _switch,
    "allow_des3": _switch,
    "lifetime_days": _number(1, 3650, "days"),
    "san_types": _san_types,
    "allow_sid_uri": _switch,
    "reply_chain": _switch,
    "signing_time_window": _or_off(_number(1, 10 * 365 * 86400, "seconds")),
    "pickup_window": _number(60, 30 * 86400, "seconds"),
    "pending_window": _number(60, 365 * 86400, "seconds"),
    "ca_certs": _choice("chain", "single"),
    "renewal_window_days": _or_off(_number(1, 3650, "days")),
    "renewal_grace_days": _number(0, 365, "days"),
    "renewal_via_pkcsreq": _switch,
}
