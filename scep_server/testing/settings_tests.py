"""The contract about settings: made, kept, shown, rotated, and of no use to a thief."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from scep_server import plugins
from scep_server.errors import ConfigurationError
from scep_server.interfaces import DescribesSettings, ShowsSettings
from scep_server.testing.suite import Suite, does_not_apply, in_a_trial
from scep_server.testing.trial import NAME, Trial, broken, must, verdict
from scep_server.types import Grant, OptionField

OTHER: Final = "another-integration"
NOT_A_SETTING: Final = "no_such_setting"
SUSPICIOUS: Final = "hunter2-hunter2\0hunter2"
"""A secret that was mistyped; what is wrong with it may be said, itself not."""
RESERVED: Final = frozenset({"drop_old", "keep_secret"})
"""What the commands themselves tell rotate()."""


class SettingsContract(Suite):
    """create, rotate, shown, load."""

    def test_it_is_found_by_its_entry_point(self) -> None:
        """The installed package names the factory in the group of challenge plugins."""
        must(
            self.plugin in plugins.available(),
            f"no installed package has an entry point {self.plugin!r} in group {plugins.GROUP}; run `pip install -e .`",
        )
        must(plugins.factory(self.plugin) is self.factory, f"the entry point {self.plugin!r} is another object")

    @in_a_trial
    async def test_settings_are_plain_json(self, trial: Trial) -> None:
        """They come back from the ledger as they were; a tuple or a number as a key would not."""
        settings, shown = self.factory.create(NAME, trial.surroundings.options, trial.house.keys)
        must(json.loads(json.dumps(settings)) == dict(settings), "settings change on their way through JSON")
        _check_shown(shown, "create")

    @in_a_trial
    async def test_settings_hold_no_secret_in_clear(self, trial: Trial) -> None:
        """Whoever reads the ledger learns no secret: only what keys.encrypt and keys.mac made is in it."""
        await self.right(trial)
        trial.must_not_tell(json.dumps(trial.settings, ensure_ascii=False), "the settings")

    @in_a_trial
    async def test_settings_of_another_integration_admit_nobody(self, trial: Trial) -> None:
        """They do not load, or the right challenge is wrong there."""
        await self._admits_nobody(trial, OTHER)

    @in_a_trial
    async def test_settings_of_another_key_file_admit_nobody(self, trial: Trial) -> None:
        """The same, where a ledger was copied and its key file was not."""
        await self._admits_nobody(trial, NAME, other_key_file=True)

    async def _admits_nobody(self, trial: Trial, integration: str, *, other_key_file: bool = False) -> None:
        if self.moves:
            does_not_apply("its settings hold nothing secret (moves = True)")
        challenge = await self.right(trial)
        try:
            moved = trial.load(integration=integration, other_key_file=other_key_file)
        except ConfigurationError as error:
            trial.must_not_tell(str(error), "the error of load")
            return
        said = await verdict(moved, trial.attempt(challenge, integration))
        must(not isinstance(said, Grant), "the settings load and admit devices there too")

    @in_a_trial
    async def test_a_rotated_secret_is_used(self, trial: Trial) -> None:
        """rotate() gives settings that load; the secret it shows is new."""
        settings, shown = self._rotated(trial, {})
        _check_shown(shown, "rotate")
        new = {name: text for name, text in shown.items() if name not in self.public}
        old = set(trial.shown.values())
        must(not old & set(new.values()), f"rotate() shows an old secret again: {', '.join(new)}")
        trial.secrets.update(dict.fromkeys(new.values(), "a secret that rotate() showed"))
        trial.must_not_tell(json.dumps(settings, ensure_ascii=False), "the settings after rotate()")
        trial.settings, trial.shown = settings, shown
        trial.plugin = trial.load()
        said = await trial.judged(await self.right(trial))
        must(isinstance(said, Grant), "after rotate() a right challenge is not granted")

    @in_a_trial
    async def test_a_change_of_settings_makes_no_secret(self, trial: Trial) -> None:
        """`integration set` passes keep_secret=yes: what devices have goes on working, and nothing new is shown."""
        challenge = await self.right(trial)
        try:
            settings, shown = self._rotated(trial, {"keep_secret": "yes"}, {})
        except ConfigurationError as error:
            does_not_apply(f"it has no setting beside its secret: {error}")
        must(not shown, f"rotate() with keep_secret=yes shows {', '.join(shown)}")
        said = await trial.judged(challenge, trial.load(settings))
        must(isinstance(said, Grant), "after rotate() with keep_secret=yes the challenge of before is not granted")

    @in_a_trial
    async def test_what_is_shown_later_was_shown_at_first(self, trial: Trial) -> None:
        """`integration show --reveal` tells what can be recovered, and nothing else."""
        shown = self.factory.shown(NAME, trial.settings, trial.house.keys)
        _check_shown(shown, "shown")
        given = set(trial.shown.values()) | set(trial.surroundings.options.values())
        must(set(shown.values()) <= given, "shown() tells something that create() neither showed nor was given")

    @in_a_trial
    async def test_settings_are_told_without_secrets(self, trial: Trial) -> None:
        """`integration show` tells the settings in force to whoever may see them: declared ones, and nothing secret."""
        if not isinstance(self.factory, ShowsSettings):
            does_not_apply("it does not tell its settings")
        told = self.factory.settings_in_force(trial.settings)
        _check_shown(told, "settings_in_force")
        trial.must_not_tell(json.dumps(dict(told), ensure_ascii=False), "settings_in_force()")
        public = {field.name for field in self._fields() if not field.secret}
        strange = ", ".join(sorted(set(told) - public))
        must(not strange, f"settings_in_force() tells what is no setting in `fields`, or a secret one: {strange}")

    @in_a_trial
    async def test_an_unknown_setting_is_refused(self, trial: Trial) -> None:
        """By its name; its value may be a secret under a mistyped name."""
        error = self._refused(trial, {**trial.surroundings.options, NOT_A_SETTING: SUSPICIOUS})
        must(error is not None, "create() takes a setting that it does not know; raise ConfigurationError")
        must(NOT_A_SETTING in str(error), "the error about an unknown setting does not name it")

    @in_a_trial
    async def test_an_unknown_setting_is_refused_when_rotating(self, trial: Trial) -> None:
        """The same for `rotate-secret --setting` and `integration set --setting`."""
        for reserved in ({}, {"keep_secret": "yes"}):
            try:
                self._rotated(trial, {NOT_A_SETTING: SUSPICIOUS, **reserved})
            except ConfigurationError as error:
                must("hunter2" not in str(error), "the error about an unknown setting repeats its value")
                continue
            broken("rotate() takes a setting that it does not know; raise ConfigurationError")

    @in_a_trial
    async def test_fields_describe_the_settings(self, trial: Trial) -> None:
        """For help texts, and so that a secret never has to stand on a command line."""
        fields = self._fields()
        options = trial.surroundings.options
        names = [field.name for field in fields]
        must(len(names) == len(set(names)), "`fields` names a setting twice")
        must(not RESERVED & set(names), f"`fields` names one of {', '.join(sorted(RESERVED))}, which commands use")
        must(set(options) <= set(names), f"not in `fields`: {', '.join(sorted(set(options) - set(names)))}")
        for field in fields:
            must(field.name and field.text and "\n" not in field.text, f"setting {field.name!r} needs one line of help")
            without = {name: text for name, text in options.items() if name != field.name}
            if field.required:
                must(self._refused(trial, without), f"setting {field.name} is `required`, but create() goes without")
            elif field.default and not field.secret:
                self.factory.create(NAME, {**options, field.name: field.default}, trial.house.keys)

    @in_a_trial
    async def test_a_refused_secret_is_not_repeated(self, trial: Trial) -> None:
        """An operator's terminal is recorded; an error says what is wrong with a secret, not the secret."""
        secret = [field.name for field in self._fields() if field.secret]
        if not secret:
            does_not_apply("it has no secret settings")
        for name in secret:
            self._refused(trial, {**trial.surroundings.options, name: SUSPICIOUS})

    def _fields(self) -> Sequence[OptionField]:
        if not isinstance(self.factory, DescribesSettings):
            must(not self.options, "it takes settings, so its factory needs `fields`")
            does_not_apply("it takes no settings")
        return tuple(self.factory.fields)

    def _rotated(
        self, trial: Trial, more: Mapping[str, str], given: Mapping[str, str] | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        options = {**(self.rotation if given is None else given), **more}
        settings, shown = self.factory.rotate(NAME, trial.settings, options, trial.house.keys)
        return json.loads(json.dumps(settings)), shown

    def _refused(self, trial: Trial, options: Mapping[str, str]) -> ConfigurationError | None:
        """The error of create() or load(), if there is one; never with a value in it that looks like a secret."""
        try:
            settings, _ = self.factory.create(NAME, options, trial.house.keys)
            trial.load(json.loads(json.dumps(settings)))
        except ConfigurationError as error:
            must("hunter2" not in str(error), "an error about a setting repeats its value")
            return error
        return None


def _check_shown(shown: Mapping[str, str], by: str) -> None:
    for name, text in shown.items():
        must(isinstance(name, str) and isinstance(text, str), f"{by}() shows something that is no text")
        must(text.isprintable(), f"{by}() shows {name} with characters that cannot be printed")
