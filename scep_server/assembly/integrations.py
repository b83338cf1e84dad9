"""Making and changing integrations: what the CLI does, and every later surface does through the same door."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from scep_server import plugins
from scep_server.assembly.options import parse_options, refuse_options
from scep_server.errors import ConfigurationError
from scep_server.interfaces import Integrations, KeyFile
from scep_server.types import Event, Integration, IntegrationOptions

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Safe in a URL path, a file listing and a log line."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An integration, and what its operator may see this once."""

    integration: Integration
    secrets: Mapping[str, str] = dataclasses.field(repr=False)
    addresses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """URLs beside the SCEP URL, by what the plugin calls them."""


class IntegrationDesk:
    """Adds, changes, rotates and deletes integrations; each change is audited in its own commit."""

    def __init__(
        self,
        ledger: Integrations,
        keys: KeyFile,
        clock: Callable[[], datetime],
        operator: str,
        *,
        public_url: str,
        try_out: Callable[[Integration], object],
    ) -> None:
        """try_out: loads an integration's plugin; ConfigurationError when its settings cannot be used."""
        self._ledger = ledger
        self._keys = keys
        self._public_url = public_url
        self._try_out = try_out
        self._clock = clock
        self._operator = operator

    def list(self) -> Sequence[Integration]:
        """All integrations, by name."""
        return self._ledger.integrations()

    def show(self, name: str) -> Integration:
        """One integration. ConfigurationError when there is none of this name."""
        for integration in self._ledger.integrations():
            if integration.name == name:
                return integration
        known = ", ".join(integration.name for integration in self._ledger.integrations()) or "none"
        raise ConfigurationError(f"there is no integration {name!r}; there are: {known}")

    def addresses(self, integration: Integration) -> Mapping[str, str]:
        """URLs of an integration beside its SCEP URL, by what its plugin calls them."""
        paths = plugins.addresses(integration.challenge, integration.name)
        return {called: self._public_url + path for called, path in paths.items()}

    def settings(self, integration: Integration) -> Mapping[str, str]:
        """Settings of an integration's plugin, as an operator writes them; no secrets."""
        return plugins.settings_in_force(integration.challenge, integration.settings)

    def reveal(self, name: str) -> Mapping[str, str]:
        """The recoverable secrets of an integration; empty when its plugin keeps none."""
        integration = self.show(name)
        return plugins.factory(integration.challenge).shown(name, integration.settings, self._keys)

    async def add(
        self, name: str, challenge: str, options: Mapping[str, str], plugin_options: Mapping[str, str]
    ) -> Shown:
        """A new integration. ConfigurationError for a bad or taken name, an unknown plugin or a bad option."""
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} cannot be an integration's name; use up to 63 letters, digits, dots, dashes, underscores, "
                "beginning with a letter or digit"
            )
        if any(integration.name == name for integration in self._ledger.integrations()):
            raise ConfigurationError(f"integration {name!r} exists; choose another name, or change it with `set`")
        taken = _settings_of(challenge)
        refuse_options(plugin_options, taken)
        parsed = parse_options(IntegrationOptions(), options, taken)
        settings, shown = plugins.factory(challenge).create(name, plugin_options, self._keys)
        now = self._clock()
        integration = Integration(
            name=name,
            challenge=challenge,
            options=parsed,
            settings=settings,
            enabled=True,
            version=1,
            created_at=now,
            updated_at=now,
        )
        self._try_out(integration)
        event = self._event("integration.added", name, challenge=challenge, options=dict(options))
        await self._ledger.put_integration(integration, None, (event,))
        return Shown(integration, shown, self.addresses(integration))

    async def set(
        self,
        name: str,
        options: Mapping[str, str],
        plugin_options: Mapping[str, str] | None = None,
        *,
        enabled: bool | None = None,
        drop_old: bool = False,
    ) -> Integration:
        """Change options or settings of the plugin, switch it on or off, or end the secret before the current one.
        ConfigurationError for an unknown name, option or setting, and where there is no such secret.
        """
        before = self.show(name)
        taken = _settings_of(before.challenge)
        after = dataclasses.replace(
            before,
            options=parse_options(before.options, options, taken),
            enabled=before.enabled if enabled is None else enabled,
        )
        detail: dict[str, Any] = {"options": dict(options)}
        if plugin_options or drop_old:
            after = dataclasses.replace(
                after, settings=self._resettled(before, plugin_options or {}, drop_old=drop_old)
            )
            self._try_out(after)
        if plugin_options:
            # A setting's value may be a secret; its name is enough for the audit.
            detail["settings"] = sorted(plugin_options)
        if drop_old:
            detail["drop_old"] = True
        if enabled is not None:
            detail["enabled"] = enabled
        return await self._replace(before, after, "integration.changed", **detail)

    async def rotate(self, name: str, plugin_options: Mapping[str, str]) -> Shown:
        """A new secret; what of the old one stays valid is the plugin's to say."""
        before = self.show(name)
        refuse_options(plugin_options, _settings_of(before.challenge))
        made = plugins.factory(before.challenge)
        settings, shown = made.rotate(name, before.settings, plugin_options, self._keys)
        after = dataclasses.replace(before, settings=settings)
        self._try_out(after)
        changed = await self._replace(before, after, "integration.rotated")
        return Shown(changed, shown, self.addresses(changed))

    async def delete(self, name: str) -> None:
        """Remove it; its certificates stay. ConfigurationError when there is none of this name."""
        self.show(name)
        if not await self._ledger.delete_integration(name, (self._event("integration.deleted", name),)):
            raise ConfigurationError(f"integration {name!r} was deleted by somebody else meanwhile")

    def _resettled(
        self, before: Integration, plugin_options: Mapping[str, str], *, drop_old: bool
    ) -> Mapping[str, Any]:
        """The plugin's settings with changed ones, and with the secret there is."""
        refuse_options(plugin_options, _settings_of(before.challenge))
        written = {**plugin_options, "keep_secret": "yes", **({"drop_old": "yes"} if drop_old else {})}
        return plugins.factory(before.challenge).rotate(before.name, before.settings, written, self._keys)[0]

    async def _replace(self, before: Integration, after: Integration, kind: str, **detail: Any) -> Integration:
        changed = dataclasses.replace(after, version=before.version + 1, updated_at=self._clock())
        event = self._event(kind, before.name, version=changed.version, **detail)
        await self._ledger.put_integration(changed, before.version, (event,))
        return changed

    def _event(self, kind: str, name: str, **detail: Any) -> Event:
        return Event(kind=kind, at=self._clock(), integration=name, source=self._operator, detail=detail)


def _settings_of(challenge: str) -> frozenset[str]:
    """Names of the settings that a plugin says it takes; empty when it does not say."""
    return frozenset(field.name for field in plugins.fields(challenge))
