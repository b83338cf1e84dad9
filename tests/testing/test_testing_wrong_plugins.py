"""The contract can fail: plugins that are wrong in one way each, and the tests that catch each of them."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import unittest
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import pytest

from scep_server import plugins
from scep_server.errors import ConfigurationError, Fault, PluginFault, Reason, Refusal, ScepServerError
from scep_server.testing import PluginContract
from scep_server.types import Grant, HttpAnswer, OptionField, PluginJob
from tests.testing.right_plugin import RightFactory, RightPlugin

log = logging.getLogger(__name__)
NOT_INSTALLED = "it_is_found_by_its_entry_point"
"""What a plugin that is defined in a test cannot pass."""


class Strange(Exception):
    """An exception of somebody else's code."""


# --- wrong factories


class KeepsSecretInClear(RightFactory):
    def kept(self, secret, integration, keys):
        return secret

    def secret(self, integration, settings, keys):
        return settings["secret"]


class KeepsSecretInHex(KeepsSecretInClear):
    def kept(self, secret, integration, keys):
        return secret.encode().hex()

    def secret(self, integration, settings, keys):
        return bytes.fromhex(settings["secret"]).decode()


class ForgetsTheIntegration(RightFactory):
    def kept(self, secret, integration, keys):
        return keys.encrypt(secret.encode(), "right")

    def secret(self, integration, settings, keys):
        return keys.decrypt(settings["secret"], "right").decode()


class KeepsTuples(RightFactory):
    def create(self, integration, options, keys):
        settings, shown = super().create(integration, options, keys)
        return {**settings, "pair": (1, 2)}, shown


class TakesAnySetting(RightFactory):
    def create(self, integration, options, keys):
        return super().create(integration, {"secret": options.get("secret", "")}, keys)


class RepeatsTheValue(RightFactory):
    def create(self, integration, options, keys):
        secret = options.get("secret", "")
        if secret and not secret.isalnum():
            raise ConfigurationError(f"{secret!r} must be letters and digits")
        return super().create(integration, options, keys)


class MakesNewSecretsAlways(RightFactory):
    def rotate(self, integration, settings, options, keys):
        return self.create(integration, {}, keys)


class RotatesToTheSame(RightFactory):
    def rotate(self, integration, settings, options, keys):
        super().rotate(integration, settings, options, keys)
        return settings, {} if "keep_secret" in options else self.shown(integration, settings, keys)


class HelpsWithNothing(RightFactory):
    fields = (OptionField("secret", "", secret=True),)


class LeadsNowhere(RightFactory):
    addresses: ClassVar = {"hello_url": "/scep/{integration}/goodbye"}


class DeclaresNothing(RightFactory):
    counters: ClassVar = {}


# --- wrong plugins


class GrantsEverything(RightPlugin):
    def is_right(self, offered):
        return True


class GrantsNothing(RightPlugin):
    def is_right(self, offered):
        return False


class GrantsTheEmpty(RightPlugin):
    def is_right(self, offered):
        return not offered or super().is_right(offered)


class GrantsBeginnings(RightPlugin):
    def is_right(self, offered):
        return bool(offered) and self.secret.startswith(offered)


class RaisesAnything(RightPlugin):
    def is_right(self, offered):
        return {self.secret: True}[offered]


class CannotTell(RightPlugin):
    async def redeem(self, attempt):
        try:
            return await super().redeem(attempt)
        except Refusal:
            raise PluginFault("no") from None


class LeaksTheSecret(RightPlugin):
    async def redeem(self, attempt):
        try:
            return await super().redeem(attempt)
        except Refusal:
            raise Refusal(Reason.CHALLENGE, f"expected {self.secret}") from None


class RepeatsTheChallenge(RightPlugin):
    async def redeem(self, attempt):
        try:
            return await super().redeem(attempt)
        except Refusal:
            raise Refusal(Reason.CHALLENGE, f"no {attempt.request.challenge!r} here") from None


class LogsTheChallenge(RightPlugin):
    async def redeem(self, attempt):
        log.debug("judging %s", attempt.request.challenge)
        return await super().redeem(attempt)


class MacsOfItsOwn(RightPlugin):
    def __init__(self, host, secret):
        super().__init__(host, secret)
        self.key = os.urandom(16)

    def mac(self, offered):
        return self.host.keys.mac(offered.encode() + self.key, "right")


class ConsumesTheChallenge(RightPlugin):
    def mac(self, offered):
        return offered.encode()


class JudgesOnce(RightPlugin):
    judged = False

    def is_right(self, offered):
        first, self.judged = not self.judged, True
        return first and super().is_right(offered)


class KeepsOnWhenCancelled(RightPlugin):
    async def redeem(self, attempt):
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            return Grant()
        return await super().redeem(attempt)


class ConfirmsOnce(RightPlugin):
    confirmed = False

    async def confirm(self, attempt, certificate):
        if self.confirmed:
            raise Fault("confirmed already")
        self.confirmed = True


class StraysWhenToldOfFailures(RightPlugin):
    async def report_failure(self, attempt, refusal):
        raise Strange


class RevealsThree(RightPlugin):
    async def reveal(self, hint):
        return (self.secret.encode(),) * 3


class RoutesElsewhere(RightPlugin):
    def routes(self):
        return {"/hello/{integration}": self.hello}


class AnswersFiveHundred(RightPlugin):
    async def hello(self, request):
        return HttpAnswer(500 if request.query else 200)


class ShowsTheSecret(RightPlugin):
    async def hello(self, request):
        return HttpAnswer(200, self.secret.encode())


class StraysOnGarbage(RightPlugin):
    async def hello(self, request):
        return HttpAnswer(200, request.headers.get("authorization", "").encode("ascii"))


class WorksWithoutRest(RightPlugin):
    def jobs(self):
        return (PluginJob("count", 0.0, self.count),)


class WorksOnce(RightPlugin):
    worked = False

    async def count(self):
        if self.worked:
            raise Fault("done already")
        self.worked = True


def using(plugin: type[RightPlugin]) -> RightFactory:
    """The right factory with a wrong plugin."""
    factory = RightFactory()
    factory.plugin = plugin
    return factory


CAUGHT_BY = [
    (KeepsSecretInClear(), {"settings_hold_no_secret_in_clear", "a_rotated_secret_is_used"}),
    (KeepsSecretInHex(), {"settings_hold_no_secret_in_clear", "a_rotated_secret_is_used"}),
    (ForgetsTheIntegration(), {"settings_of_another_integration_admit_nobody"}),
    (KeepsTuples(), {"settings_are_plain_json"}),
    (TakesAnySetting(), {"an_unknown_setting_is_refused", "an_unknown_setting_is_refused_when_rotating"}),
    (RepeatsTheValue(), {"a_refused_secret_is_not_repeated"}),
    (
        MakesNewSecretsAlways(),
        {"a_change_of_settings_makes_no_secret", "an_unknown_setting_is_refused_when_rotating"},
    ),
    (RotatesToTheSame(), {"a_rotated_secret_is_used"}),
    (HelpsWithNothing(), {"fields_describe_the_settings"}),
    (LeadsNowhere(), {"addresses_lead_to_routes"}),
    (DeclaresNothing(), {"jobs_can_be_repeated"}),
    (
        using(GrantsEverything),
        {"a_wrong_challenge_is_refused", "no_challenge_is_not_granted", "a_strange_challenge_is_not_granted"},
    ),
    (using(GrantsNothing), {"a_right_challenge_is_granted", "a_rotated_secret_is_used"}),
    (using(GrantsTheEmpty), {"no_challenge_is_not_granted"}),
    (using(GrantsBeginnings), {"a_strange_challenge_is_not_granted"}),
    (
        using(RaisesAnything),
        {
            "a_wrong_challenge_is_refused",
            "no_challenge_is_not_granted",
            "a_strange_challenge_is_not_granted",
            "a_renewal_raises_nothing_strange",
        },
    ),
    (using(CannotTell), {"a_wrong_challenge_is_refused"}),
    (
        using(LeaksTheSecret),
        {"a_wrong_challenge_is_refused", "a_strange_challenge_is_not_granted", "a_renewal_raises_nothing_strange"},
    ),
    (using(RepeatsTheChallenge), {"a_wrong_challenge_is_refused", "a_strange_challenge_is_not_granted"}),
    (using(LogsTheChallenge), {"a_wrong_challenge_is_refused", "confirming_is_repeatable"}),
    (using(MacsOfItsOwn), {"processes_agree"}),
    (using(ConsumesTheChallenge), {"a_right_challenge_is_granted"}),
    (
        using(JudgesOnce),
        {"judging_is_repeatable", "processes_agree", "a_cancelled_judgement_ends"},
    ),
    (using(KeepsOnWhenCancelled), {"a_cancelled_judgement_ends"}),
    (using(ConfirmsOnce), {"confirming_is_repeatable"}),
    (using(StraysWhenToldOfFailures), {"a_reported_failure_raises_nothing_strange"}),
    (using(RevealsThree), {"at_most_two_passwords_are_revealed"}),
    (using(AnswersFiveHundred), {"routes_answer_strangers"}),
    (using(ShowsTheSecret), {"routes_answer_strangers"}),
    (using(StraysOnGarbage), {"routes_answer_strangers"}),
    (using(WorksWithoutRest), {"jobs_can_be_repeated"}),
    (using(WorksOnce), {"jobs_can_be_repeated"}),
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


@pytest.mark.parametrize(
    ("factory", "caught_by"),
    CAUGHT_BY,
    ids=[(type(factory) if type(factory) is not RightFactory else factory.plugin).__name__ for factory, _ in CAUGHT_BY],
)
def test_a_wrong_plugin_is_caught(factory: RightFactory, caught_by: set[str]) -> None:
    assert failing(factory, caught_by) == caught_by


def test_a_route_that_is_not_served_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="not served"):
        contract_for(using(RoutesElsewhere)).test_a_right_challenge_is_granted()


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
