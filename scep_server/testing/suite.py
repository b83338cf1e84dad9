"""What the author of a plugin says about it, and how one test of the contract runs."""

from __future__ import annotations

import asyncio
import functools
import json
import unittest
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final, NoReturn, TypeVar

from scep_server.interfaces import ChallengePluginFactory, DeclaresCounters, DescribesSettings, Mints
from scep_server.testing.house import house
from scep_server.testing.trial import NAME, Surroundings, Trial, hearing, must
from scep_server.types import MintOrder

SECONDS: Final = 60.0
"""One test may take."""


class Suite:
    """The author's part. Subclass PluginContract and say at least `plugin` and `factory`."""

    plugin: ClassVar[str]
    """Name of the entry point."""
    factory: ClassVar[ChallengePluginFactory]
    options: ClassVar[Mapping[str, str]] = {}
    """For create()."""
    rotation: ClassVar[Mapping[str, str]] = {}
    """For rotate(), where a new secret has to be given."""
    public: ClassVar[frozenset[str]] = frozenset()
    """Names in what create() shows that are no secrets (a user name)."""
    subject: ClassVar[str] = "CN=device-1"
    """Of a device that may have a certificate."""
    lacks: ClassVar[frozenset[str]] = frozenset()
    """What the plugin is not meant to have, in the words of the report ("it has no jobs"): such a test passes instead
    of being skipped, so that a skip is news.
    """
    moves: ClassVar[bool] = False
    """True: there is nothing secret in the settings, so that a copy of them may serve elsewhere."""

    @asynccontextmanager
    async def surroundings(self, folder: Path) -> AsyncIterator[Surroundings]:
        """Start what the plugin talks to, and stop it afterwards. folder: empty, gone after the test."""
        yield Surroundings(self.options)

    async def right_challenge(self, trial: Trial) -> str:
        """A challenge that admits `subject`. Default: a minted one, or the one that create() showed."""
        if isinstance(trial.plugin.itself, Mints):
            return (await trial.plugin.mint((MintOrder(),), "the contract"))[0].challenge
        must("challenge" in trial.shown, "how to make a right challenge? Write right_challenge() in your subclass")
        return trial.shown["challenge"]

    async def wrong_challenge(self, trial: Trial) -> str:
        """A challenge that admits nobody, in a form that a device may send."""
        return "no-such-challenge-0123"

    # --- how a test runs

    async def right(self, trial: Trial) -> str:
        """A right challenge, which from now on must appear nowhere."""
        challenge = await self.right_challenge(trial)
        trial.secrets[challenge] = "a right challenge"
        return challenge

    async def in_a_trial(self, test: Callable[[Trial], Awaitable[None]]) -> None:
        """Run one test on an integration of its own; afterwards look at what the plugin did beside it."""
        with TemporaryDirectory(prefix="plugin-contract-") as name:
            folder = Path(name)
            for part in ("house", "peer"):
                (folder / part).mkdir()
            counters = {self.plugin: self.factory.counters} if isinstance(self.factory, DeclaresCounters) else {}
            async with (
                asyncio.timeout(SECONDS),
                self.surroundings(folder / "peer") as around,
                house(folder / "house", ca_file=around.ca_file, counters=counters) as its_house,
            ):
                with hearing() as heard:
                    trial = Trial(self.plugin, self.factory, around, its_house, heard, self.subject)
                    self._add(trial)
                    await test(trial)
                self._look_back(trial, frozenset(counters.get(self.plugin, ())))

    def _add(self, trial: Trial) -> None:
        """As `integration add` does."""
        options = trial.surroundings.options
        settings, shown = self.factory.create(NAME, options, trial.house.keys)
        trial.settings, trial.shown = json.loads(json.dumps(settings)), shown
        for name, text in shown.items():
            if name not in self.public:
                trial.secrets[text] = f"{name}, which create() showed,"
        if isinstance(self.factory, DescribesSettings):
            for field in self.factory.fields:
                if field.secret and field.name in options:
                    trial.secrets[options[field.name]] = f"the secret setting {field.name}"
        trial.plugin = trial.load()

    def _look_back(self, trial: Trial, declared: frozenset[str]) -> None:
        must(not trial.strays, f"only Refusal and Fault may come out of a plugin: {'; '.join(trial.strays)}")
        undeclared = sorted(set(trial.counted) - declared)
        must(not undeclared, f"counted but not declared in the factory's `counters`: {', '.join(undeclared)}")
        trial.must_not_tell("\n".join(trial.heard.texts), "the log")


S = TypeVar("S", bound=Suite)


def in_a_trial(test: Callable[[S, Trial], Awaitable[None]]) -> Callable[[S], None]:
    """A plain test method from a coroutine that wants a Trial: no test framework has to know of coroutines."""

    def run(self: S) -> None:
        try:
            asyncio.run(self.in_a_trial(functools.partial(test, self)))
        except unittest.SkipTest as skipped:
            if not any(str(skipped).startswith(known) for known in self.lacks):
                raise

    # functools.wraps would show pytest the parameter `trial`, which it would take for a fixture.
    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run


def does_not_apply(reason: str) -> NoReturn:
    """The plugin does not have this ability; the report says so."""
    raise unittest.SkipTest(reason)
