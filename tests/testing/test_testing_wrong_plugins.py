"""The contract can fail: plugins that are wrong in one way each, and the tests that catch each of them."""

from __future__ import annotations

import importlib
import sys
import unittest
from collections.abc import Iterable
from pathlib import Path

import pytest

from scep_server import plugins
from scep_server.errors import ConfigurationError, ScepServerError
from scep_server.testing import PluginContract
from tests.testing import wrong_factories as factories
from tests.testing import wrong_plugins as wrong
from tests.testing.right_plugin import RightFactory
from tests.testing.wrong_plugins import using

NOT_INSTALLED = "it_is_found_by_its_entry_point"
"""What a plugin that is defined in a test cannot pass."""

CAUGHT_BY = [
    (factories.KeepsSecretInClear(), {"settings_hold_no_secret_in_clear", "a_rotated_secret_is_used"}),
    (factories.KeepsSecretInHex(), {"settings_hold_no_secret_in_clear", "a_rotated_secret_is_used"}),
    (factories.ForgetsTheIntegration(), {"settings_of_another_integration_admit_nobody"}),
    (factories.KeepsTuples(), {"settings_are_plain_json"}),
    (factories.TakesAnySetting(), {"an_unknown_setting_is_refused", "an_unknown_setting_is_refused_when_rotating"}),
    (factories.RepeatsTheValue(), {"a_refused_secret_is_not_repeated"}),
    (
        factories.MakesNewSecretsAlways(),
        {"a_change_of_settings_makes_no_secret", "an_unknown_setting_is_refused_when_rotating"},
    ),
    (factories.RotatesToTheSame(), {"a_rotated_secret_is_used"}),
    (factories.ShowsOldSecretsAgain(), {"a_change_of_settings_makes_no_secret"}),
    (factories.LosesSecretsOnChange(), {"a_change_of_settings_makes_no_secret"}),
    (factories.ShowsMoreLater(), {"what_is_shown_later_was_shown_at_first"}),
    (factories.ShowsControlCharacters(), {"settings_are_plain_json"}),
    (factories.NamesNoSetting(), {"an_unknown_setting_is_refused"}),
    (factories.RepeatsUnknownValues(), {"an_unknown_setting_is_refused_when_rotating"}),
    (factories.TellsTheSecretElsewhere(), {"settings_of_another_integration_admit_nobody"}),
    (factories.NamesASettingTwice(), {"fields_describe_the_settings"}),
    (factories.TakesACommandsWord(), {"fields_describe_the_settings"}),
    (factories.RequiresNothingReally(), {"fields_describe_the_settings"}),
    (factories.HelpsWithNothing(), {"fields_describe_the_settings"}),
    (factories.TellsTheSecret(), {"settings_are_told_without_secrets"}),
    (factories.TellsASecretSetting(), {"settings_are_told_without_secrets"}),
    (factories.TellsNoText(), {"settings_are_told_without_secrets"}),
    (factories.LeadsNowhere(), {"addresses_lead_to_routes"}),
    (factories.DeclaresNothing(), {"jobs_can_be_repeated"}),
    (factories.DeclaresTooMuch(), {"counters_are_declared_soundly"}),
    (factories.DeclaresTheRest(), {"counters_are_declared_soundly"}),
    (factories.DeclaresWithoutHelp(), {"counters_are_declared_soundly"}),
    (
        using(wrong.GrantsEverything),
        {"a_wrong_challenge_is_refused", "no_challenge_is_not_granted", "a_strange_challenge_is_not_granted"},
    ),
    (using(wrong.GrantsNothing), {"a_right_challenge_is_granted", "a_rotated_secret_is_used"}),
    (using(wrong.GrantsTheEmpty), {"no_challenge_is_not_granted"}),
    (using(wrong.GrantsBeginnings), {"a_strange_challenge_is_not_granted"}),
    (
        using(wrong.RaisesAnything),
        {
            "a_wrong_challenge_is_refused",
            "no_challenge_is_not_granted",
            "a_strange_challenge_is_not_granted",
            "a_renewal_raises_nothing_strange",
        },
    ),
    (using(wrong.CannotTell), {"a_wrong_challenge_is_refused"}),
    (
        using(wrong.LeaksTheSecret),
        {"a_wrong_challenge_is_refused", "a_strange_challenge_is_not_granted", "a_renewal_raises_nothing_strange"},
    ),
    (using(wrong.RepeatsTheChallenge), {"a_wrong_challenge_is_refused", "a_strange_challenge_is_not_granted"}),
    (using(wrong.LogsTheChallenge), {"a_wrong_challenge_is_refused", "confirming_is_repeatable"}),
    (using(wrong.MacsOfItsOwn), {"processes_agree"}),
    (using(wrong.ConsumesTheChallenge), {"a_right_challenge_is_granted"}),
    (using(wrong.GrantsForNoUse), {"a_right_challenge_is_granted"}),
    (using(wrong.RefersByOctets), {"a_right_challenge_is_granted"}),
    (using(wrong.ConsumesAList), {"a_right_challenge_is_granted"}),
    (using(wrong.ConsumesAShortMac), {"a_right_challenge_is_granted"}),
    (
        using(wrong.JudgesOnce),
        {"judging_is_repeatable", "processes_agree", "a_cancelled_judgement_ends"},
    ),
    (using(wrong.KeepsOnWhenCancelled), {"a_cancelled_judgement_ends"}),
    (using(wrong.ConfirmsOnce), {"confirming_is_repeatable"}),
    (using(wrong.StraysWhenToldOfFailures), {"a_reported_failure_raises_nothing_strange"}),
    (using(wrong.RevealsThree), {"at_most_two_passwords_are_revealed"}),
    (using(wrong.RevealsAnother), {"at_most_two_passwords_are_revealed"}),
    (using(wrong.AnswersFiveHundred), {"routes_answer_strangers"}),
    (using(wrong.ShowsTheSecret), {"routes_answer_strangers"}),
    (using(wrong.GivesToStrangers), {"routes_answer_strangers"}),
    (using(wrong.StraysOnGarbage), {"routes_answer_strangers"}),
    (using(wrong.WorksWithoutRest), {"jobs_can_be_repeated"}),
    (using(wrong.WorksOnce), {"jobs_can_be_repeated"}),
    (using(wrong.AnswersAText), {"routes_answer_strangers"}),
    (using(wrong.AnswersWithoutOctets), {"routes_answer_strangers"}),
    (using(wrong.AnswersWithLineBreaks), {"routes_answer_strangers"}),
    (using(wrong.WorksUnderOneName), {"jobs_can_be_repeated"}),
    (using(wrong.WorksUnderNoName), {"jobs_can_be_repeated"}),
    (using(wrong.MintsTheSame), {"minted_challenges_are_sound"}),
    (using(wrong.MintsWhatWindowsCannotSend), {"minted_challenges_are_sound"}),
    (using(wrong.MintsTooLate), {"minted_challenges_are_sound"}),
    (using(wrong.MintsWhatItDoesNotTake), {"minted_challenges_are_sound"}),
    (using(wrong.MintsWithoutTheNames), {"minted_challenges_are_sound"}),
    (using(wrong.MintsForNoUse), {"minted_challenges_are_sound"}),
    (using(wrong.TakesANoticeOnce), {"notices_can_be_told_again"}),
    (using(wrong.ChecksNothing), {"it_can_check_itself"}),
    (using(wrong.ChecksWithoutWords), {"it_can_check_itself"}),
    (using(wrong.ChecksWithoutRemedy), {"it_can_check_itself"}),
    (using(wrong.ChecksAloud), {"it_can_check_itself"}),
    (using(wrong.PullsWithoutRest), {"revocations_can_be_pulled_again"}),
]


def contract_for(factory: RightFactory, plugin: str = "right") -> PluginContract:
    return type("TestIt", (PluginContract,), {"plugin": plugin, "factory": factory})()


def failing(factory: RightFactory, tests: Iterable[str]) -> set[str]:
    """Those of the contract's tests that a plugin fails."""
    contract, failed = contract_for(factory), set()
    for name in tests:
        try:
            getattr(contract, f"test_{name}")()
        except unittest.SkipTest:
            continue
        except (AssertionError, ScepServerError):
            failed.add(name)
    return failed


def test_a_right_plugin_fails_nothing() -> None:
    tests = {name.removeprefix("test_") for name in dir(PluginContract) if name.startswith("test_")}
    assert {name for _, caught_by in CAUGHT_BY for name in caught_by} <= tests
    assert failing(RightFactory(), tests) == {NOT_INSTALLED}
    assert failing(using(wrong.MintsRightly), {"minted_challenges_are_sound"}) == set()


@pytest.mark.parametrize(
    ("factory", "caught_by"),
    CAUGHT_BY,
    ids=[(type(factory) if type(factory) is not RightFactory else factory.plugin).__name__ for factory, _ in CAUGHT_BY],
)
def test_a_wrong_plugin_is_caught(factory: RightFactory, caught_by: set[str]) -> None:
    assert failing(factory, caught_by) == caught_by


def test_a_route_that_is_not_served_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="not served"):
        contract_for(using(wrong.RoutesElsewhere)).test_a_right_challenge_is_granted()


def test_settings_that_are_not_described_are_seen() -> None:
    contract = contract_for(factories.DescribesNothing())
    with pytest.raises(unittest.SkipTest, match="takes no settings"):
        contract.test_fields_describe_the_settings()
    type(contract).options = {"secret": "0123456789"}
    with pytest.raises(AssertionError, match="needs `fields`"):
        contract.test_fields_describe_the_settings()


def test_settings_without_secrets_may_move() -> None:
    contract = contract_for(factories.ForgetsTheIntegration())
    type(contract).moves = True
    with pytest.raises(unittest.SkipTest, match="moves"):
        contract.test_settings_of_another_integration_admit_nobody()


def test_a_plugin_that_is_not_installed_is_told_how() -> None:
    with pytest.raises(AssertionError, match="pip install"):
        contract_for(RightFactory()).test_it_is_found_by_its_entry_point()


def test_another_object_behind_the_entry_point_is_seen() -> None:
    with pytest.raises(AssertionError, match="another object"):
        contract_for(RightFactory(), "static").test_it_is_found_by_its_entry_point()


def installed_as(folder: Path, name: str, source: str) -> None:
    """A package with an entry point, as pip would leave it on the path."""
    (folder / f"{name}.py").write_text(source)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {name}:PLUGIN\n")


RANDOM_AT_IMPORT = """
import os
from tests.testing.right_plugin import RightFactory, RightPlugin
KEY = os.urandom(16) if {random} else b""
class Random(RightPlugin):
    def mac(self, offered):
        return self.host.keys.mac(offered.encode() + KEY, "right")
class Factory(RightFactory):
    plugin = Random
PLUGIN = Factory()
"""


@pytest.mark.parametrize("random", [True, False])
def test_a_key_made_at_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random: bool) -> None:
    name = f"random_at_import_{random}".lower()
    installed_as(tmp_path, name, RANDOM_AT_IMPORT.format(random=random))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(name)
    contract = contract_for(module.PLUGIN, name)
    contract.test_it_is_found_by_its_entry_point()
    if not random:
        contract.test_processes_agree()
        return
    with pytest.raises(AssertionError, match="consumes differs"):
        contract.test_processes_agree()
    assert sys.modules[name] is module
