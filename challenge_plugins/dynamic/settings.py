"""Settings of plugins that mint one-time challenges: kept as the operator wrote them, read the same way each time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from scep_server.errors import ConfigurationError
from scep_server.types import OptionField

MAX_LIFETIME_MINUTES: Final = 10080
"""Seven days. A challenge is a password on its way to a device, not one to keep."""
HIGHEST_CEILING: Final = 10_000_000
HIGHEST_RATE: Final = 600_000
_USER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@\\-]{0,63}")
"""No colon, which ends it in a Basic login; a backslash, because forms made for NDES ask for DOMAIN\\user."""

Reader = Callable[[str], Any]
"""Value of a setting's text. ValueError with what may stand there."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One `--setting KEY=VALUE`."""

    name: str
    text: str
    default: str
    read: Reader

    @property
    def field(self) -> OptionField:
        """What help texts say about it."""
        return OptionField(self.name, self.text, self.default)


def whole(lowest: int, highest: int) -> Reader:
    """A whole number between two bounds, both included."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and lowest <= int(text) <= highest):
            raise ValueError(f"a whole number from {lowest} to {highest}")
        return int(text)

    return read


def whole_or_off(lowest: int, highest: int) -> Reader:
    """The same, or None for `off`."""
    number = whole(lowest, highest)

    def read(text: str) -> int | None:
        try:
            return None if text == "off" else number(text)
        except ValueError as error:
            raise ValueError(f"off, or {error}") from None

    return read


def one_of(*words: str) -> Reader:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return read


def switch(text: str) -> bool:
    """True for `on`, False for `off`."""
    return bool(one_of("on", "off")(text) == "on")


MINT_SETTINGS: Final = (
    Setting(
        "lifetime_minutes",
        f"minutes until an unused challenge expires, 1 to {MAX_LIFETIME_MINUTES}; said on the page",
        "60",
        whole(1, MAX_LIFETIME_MINUTES),
    ),
    Setting(
        "ceiling",
        "unspent challenges there may be at once; off: as many as are asked for",
        "off",
        whole_or_off(1, HIGHEST_CEILING),
    ),
    Setting(
        "mint_per_minute",
        f"challenges one login may ask for in a minute, 1 to {HIGHEST_RATE}",
        "600",
        whole(1, HIGHEST_RATE),
    ),
    Setting(
        "kept_for_ec",
        "on: challenges minted for a subject or a transaction id stay recoverable under the key file, for clients "
        "whose key cannot decrypt; off: none does",
        "off",
        switch,
    ),
)


def user_name(text: str) -> str:
    """Reader of USER_NAME."""
    if text and not _USER_NAME.fullmatch(text):
        raise ValueError("1 to 64 of A-Z a-z 0-9 . _ @ \\ -, beginning with a letter or digit")
    return text


USER_NAME: Final = Setting("username", "user name of the login; generated when left out", "", user_name)


@dataclass(frozen=True, slots=True)
class MintRules:
    """How challenges of an integration are minted."""

    lifetime: timedelta
    ceiling: int | None
    per_minute: int
    kept_for_ec: bool

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> MintRules:
        """From what read_settings gave for MINT_SETTINGS."""
        return cls(
            lifetime=timedelta(minutes=values["lifetime_minutes"]),
            ceiling=values["ceiling"],
            per_minute=values["mint_per_minute"],
            kept_for_ec=values["kept_for_ec"],
        )


def read_settings(settings: Iterable[Setting], written: Mapping[str, str]) -> dict[str, Any]:
    """Values by name, defaults where nothing is written. ConfigurationError for an unknown name or a wrong value."""
    known = {setting.name: setting for setting in settings}
    unknown = sorted(set(written) - set(known))
    if unknown:
        raise ConfigurationError(f"there is no setting {', '.join(unknown)}; there are: {', '.join(known)}")
    values = {}
    for name, setting in known.items():
        try:
            values[name] = setting.read(written.get(name, setting.default))
        except ValueError as error:
            raise ConfigurationError(f"setting {name} must be {error}") from None
    return values
