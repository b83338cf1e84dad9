"""Making and rotating integrations whose challenges are minted on request: settings, credentials, what is shown once.

Settings as stored: {"credentials": [{"generation", "way", "name", "mac" (keyed), "created_at"}, ...] newest first,
"written": {setting: text as the operator wrote it}}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

from challenge_plugins.dynamic.credentials import (
    Credentials,
    Presented,
    Way,
    new_generation,
    newest_generation,
    with_generation,
)
from challenge_plugins.dynamic.one_time import COUNTERS
from challenge_plugins.dynamic.settings import Setting, read_settings
from scep_server.errors import ConfigurationError
from scep_server.interfaces import ChallengePlugin, Host, KeyFile
from scep_server.types import OptionField

Made = tuple[Mapping[str, Any], Mapping[str, str]]

_SHOWN_AS: Final = {
    Way.BASIC: ("username", "password"),
    Way.BEARER: ("", "token"),
    Way.HEADER: ("header_name", "header_value"),
}


class OneTimeFactory(ABC):
    """Base of the factories. A subclass names its settings and makes its credentials and its plugin."""

    settings: Sequence[Setting]
    with_secret: frozenset[str]
    """Settings that say what a credential is, so that they change together with its secret only."""
    counters: Mapping[str, str] = COUNTERS

    @property
    def fields(self) -> Sequence[OptionField]:
        """Which settings it takes."""
        return tuple(setting.field for setting in self.settings)

    @abstractmethod
    def new_ways(self, values: Mapping[str, Any]) -> Sequence[Presented]:
        """New credentials, with new secrets."""

    @abstractmethod
    def plugin(self, host: Host, values: Mapping[str, Any], credentials: Credentials) -> ChallengePlugin:
        """The live plugin."""

    def create(self, integration: str, options: Mapping[str, str], keys: KeyFile) -> Made:
        """Settings with new credentials. ConfigurationError for settings that cannot be."""
        return self._made(integration, dict(options), [], keys)

    def rotate(self, integration: str, settings: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile) -> Made:
        """New secrets; those before stay valid until the next rotation, unless options["drop_old"] is `yes`.

        With options["keep_secret"] `yes`, only the settings given change; with both, the newest secrets stay alone.
        """
        given = dict(options)
        drop_old, keep = given.pop("drop_old", "") == "yes", given.pop("keep_secret", "") == "yes"
        before = list(settings.get("credentials", ()))
        written = {**settings.get("written", {}), **given}
        if keep:
            return self._changed(written, given, newest_generation(before) if drop_old else before), {}
        if "username" in self.with_secret:
            # The name is no secret: it stays, so that only the password has to be changed in the MDM.
            written.setdefault("username", next((one["name"] for one in before if one["way"] == Way.BASIC), ""))
        return self._made(integration, written, [] if drop_old else before, keys)

    def shown(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Mapping[str, str]:
        """The name of the login or header; secrets are kept as MACs and cannot be shown again."""
        for one in settings.get("credentials", ()):
            if one["name"]:
                return {_SHOWN_AS[Way(one["way"])][0]: one["name"]}
        return {}

    def settings_in_force(self, settings: Mapping[str, Any]) -> Mapping[str, str]:
        """As written, defaults for the rest; a user name that was generated too."""
        written = {one.name: one.default for one in self.settings} | dict(settings.get("written", {}))
        name = next((one["name"] for one in settings.get("credentials", ()) if one["way"] == Way.BASIC), "")
        if "username" in written:
            written["username"] = name
        return {setting: text for setting, text in written.items() if text}

    def load(self, integration: str, settings: Mapping[str, Any], host: Host) -> ChallengePlugin:
        """ConfigurationError when nobody could ask for a challenge, or a setting is out of bounds (N3)."""
        values = read_settings(self.settings, settings.get("written", {}))
        credentials = Credentials(integration, settings.get("credentials", ()), host.keys)
        return self.plugin(host, values, credentials)

    def _made(
        self, integration: str, written: Mapping[str, str], before: Sequence[Mapping[str, str]], keys: KeyFile
    ) -> Made:
        ways = self.new_ways(read_settings(self.settings, written))
        credentials = with_generation(new_generation(integration, ways, keys), before)
        return {"credentials": credentials, "written": dict(written)}, _shown_once(ways)

    def _changed(
        self, written: Mapping[str, str], given: Mapping[str, str], before: Sequence[Mapping[str, str]]
    ) -> Mapping[str, Any]:
        read_settings(self.settings, written)
        fixed = sorted(self.with_secret & set(given))
        if fixed:
            raise ConfigurationError(f"{', '.join(fixed)} changes together with the secret; use rotate-secret for that")
        return {"credentials": list(before), "written": dict(written)}


def _shown_once(ways: Sequence[Presented]) -> Mapping[str, str]:
    shown = {}
    for one in ways:
        name, secret = _SHOWN_AS[one.way]
        if name:
            shown[name] = one.name
        shown[secret] = one.secret
    return shown
