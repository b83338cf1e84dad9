"""One integration of the plugin under test, made as `integration add` makes it, with everything it does watched."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from scep_server import plugins
from scep_server.assembly.house import IntegrationHost
from scep_server.errors import Fault, PluginFault, Refusal
from scep_server.interfaces import ChallengePlugin, ChallengePluginFactory
from scep_server.keyfile import SecretKeyFile
from scep_server.plugins import GuardedPlugin
from scep_server.testing.attempts import make_attempt
from scep_server.testing.house import HouseUnderTest
from scep_server.types import Attempt, Grant

SHORTEST_SECRET: Final = 8
"""Characters. A shorter text turns up in others by chance, so it is not looked for."""
NAME: Final = "corp"
"""The integration under test."""


class ContractBroken(AssertionError):
    """The plugin does what no plugin may do, or not what every plugin must."""


def broken(text: str) -> NoReturn:
    """ContractBroken with this text."""
    raise ContractBroken(text)


def must(condition: object, text: str) -> None:
    """ContractBroken unless condition holds. `assert` would be left out under `python -O`."""
    if not condition:
        broken(text)


@dataclass(frozen=True)
class Surroundings:
    """What the plugin is configured with, and what is there for it to talk to."""

    options: Mapping[str, str]
    """For create(), as `--setting KEY=VALUE` would give them."""
    ca_file: Path | None = None
    """PEM that outgoing HTTPS trusts, where a service of the test has a private CA."""
    peer: Any = None
    """Whatever the author's own methods want to find again."""


class WatchedPlugin(GuardedPlugin):
    """A guarded plugin that remembers what the guard had to catch."""

    def __init__(self, name: str, plugin: ChallengePlugin, strays: list[str]) -> None:
        self._strays = strays
        super().__init__(name, plugin)

    @property
    def itself(self) -> ChallengePlugin:
        """The plugin without its guard."""
        return self._plugin

    def _fault(self, verb: str, error: BaseException) -> PluginFault:
        frames = traceback.extract_tb(error.__traceback__)
        where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        self._strays.append(f"{verb} ended with {type(error).__name__}{where}")
        return super()._fault(verb, error)


class WatchedHost(IntegrationHost):
    """A host that remembers what was counted."""

    counted: list[str]

    def count(self, event: str, amount: int = 1) -> None:
        """Count it, and remember it."""
        self.counted.append(event)
        super().count(event, amount)


class Heard(logging.Handler):
    """Everything that was logged meanwhile, tracebacks included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it as a log file would."""
        self.texts.append(self.format(record))


@contextmanager
def hearing() -> Iterator[Heard]:
    """Hears the log at its lowest level."""
    root, heard = logging.getLogger(), Heard()
    level = root.level
    root.addHandler(heard)
    root.setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        root.setLevel(level)
        root.removeHandler(heard)


@dataclass
class Trial:
    """What a test is given."""

    name: str
    """Of the plugin's entry point."""
    factory: ChallengePluginFactory
    surroundings: Surroundings
    house: HouseUnderTest
    heard: Heard
    subject: str
    settings: Mapping[str, Any] = field(init=False)
    shown: Mapping[str, str] = field(init=False)
    plugin: WatchedPlugin = field(init=False)
    """Live, with settings that went through JSON as they do in the ledger."""
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    """What must appear nowhere: text to what it is."""
    strays: list[str] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)

    def load(
        self,
        settings: Mapping[str, Any] | None = None,
        integration: str = NAME,
        *,
        other_key_file: bool = False,
        factory: ChallengePluginFactory | None = None,
    ) -> WatchedPlugin:
        """Another instance, as another worker would have it; factory: of another process. ConfigurationError."""
        house = self.house.house
        if other_key_file:
            house = dataclasses.replace(house, keys=SecretKeyFile(os.urandom(32)))
        kept = self.settings if settings is None else settings
        host = WatchedHost(house, self.house.integration(self.name, kept, integration))
        host.counted = self.counted
        return WatchedPlugin(self.name, (factory or self.factory).load(integration, kept, host), self.strays)

    def attempt(self, challenge: str | None, integration: str = NAME, **how: Any) -> Attempt:
        """An attempt that arrives now; how: as make_attempt takes it."""
        named = {"subject": self.subject, "received_at": self.house.clock(), **how}
        return make_attempt(challenge, integration=integration, **named)

    async def judged(self, challenge: str | None, plugin: WatchedPlugin | None = None) -> Grant | Refusal | Fault:
        """What the plugin says to a challenge."""
        return await verdict(plugin or self.plugin, self.attempt(challenge))

    def must_not_tell(self, text: str, where: str) -> None:
        """ContractBroken when a secret stands in a text, as it is or encoded."""
        for secret, what in self.secrets.items():
            for form, spelled in spellings(secret):
                must(spelled not in text, f"{what} stands in {where}{form}")


def imported_anew(name: str, factory: ChallengePluginFactory) -> ChallengePluginFactory:
    """The factory as a process that starts now would have it: its package is imported once more. The same one where it
    is not installed.
    """
    if name not in plugins.available():
        return factory
    package = (factory if isinstance(factory, type) else type(factory)).__module__.partition(".")[0]
    before = {module: sys.modules.pop(module) for module in _modules_of(package)}
    try:
        return plugins.factory(name)
    finally:
        for module in _modules_of(package):
            del sys.modules[module]
        sys.modules.update(before)


def _modules_of(package: str) -> Sequence[str]:
    return [name for name in sys.modules if name == package or name.startswith(f"{package}.")]


async def verdict(plugin: WatchedPlugin, attempt: Attempt) -> Grant | Refusal | Fault:
    """What a plugin says to an attempt."""
    try:
        return await plugin.redeem(attempt)
    except (Refusal, Fault) as no:
        return no


def spellings(secret: str) -> Iterable[tuple[str, str]]:
    """The forms in which a secret gives itself away: how it is hidden, and the text to look for."""
    if len(secret) < SHORTEST_SECRET:
        return
    octets = secret.encode()
    yield "", secret
    yield " as hexadecimal", octets.hex()
    yield " as Base64", base64.b64encode(octets).decode().rstrip("=")
    yield " as Base64", base64.urlsafe_b64encode(octets).decode().rstrip("=")
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, octets, usedforsecurity=False).digest()
        yield f" as its {name} digest without a key, which guesses can be tried on", digest.hex()
        yield f" as its {name} digest without a key, which guesses can be tried on", base64.b64encode(digest).decode()
