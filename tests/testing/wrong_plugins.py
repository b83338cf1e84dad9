"""Plugins that are wrong in one way each; the rest of them is right_plugin.py's."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import timedelta
from typing import ClassVar

from scep_server.errors import ConfigurationError, Fault, PluginFault, Reason, Refusal
from scep_server.types import Finding, Grant, HttpAnswer, Minted, OpenChallenge, OptionField, PluginJob
from tests.testing.right_plugin import RightFactory, RightPlugin

log = logging.getLogger(__name__)


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


class TellsTheSecret(RightFactory):
    """Under a name that is no secret's."""

    fields = (*RightFactory.fields, OptionField("note", "for people"))

    def kept(self, secret, integration, keys):
        self.noted = secret
        return super().kept(secret, integration, keys)

    def settings_in_force(self, settings):
        return {"note": f"opens with {self.noted}"}


class TellsASecretSetting(RightFactory):
    def settings_in_force(self, settings):
        return {"secret": "********"}


class TellsNoText(RightFactory):
    fields = (*RightFactory.fields, OptionField("count", "how many"))

    def settings_in_force(self, settings):
        return {"count": 1}


class DescribesNothing(RightFactory):
    @property
    def fields(self):
        raise AttributeError("fields")


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


class GivesToStrangers(RightPlugin):
    async def hello(self, request):
        now, challenge = self.host.clock(), os.urandom(16)
        kept = OpenChallenge(self.host.integration, challenge, now, now + timedelta(hours=1))
        await self.host.challenges.put((kept,), None, ())
        return HttpAnswer(200, challenge.hex().encode())


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


class MintsTheSame(RightPlugin):
    async def mint(self, orders, requester):
        return [Minted(self.secret, self.host.clock() + timedelta(hours=1)) for _ in orders]


class TakesANoticeOnce(RightPlugin):
    taken = False

    async def notified(self, notice):
        if self.taken:
            raise Fault("known already")
        self.taken = True


class ChecksWithoutRemedy(RightPlugin):
    async def check(self):
        return (Finding("door", passed=False, text="closed"),)


class ChecksAloud(RightPlugin):
    async def check(self):
        return (Finding("secret", passed=True, text=f"it is {self.secret}"),)


class PullsWithoutRest(RightPlugin):
    pull_seconds = 0.0

    async def revocation_requests(self):
        return ()

    async def revocations_done(self, results):
        pass


def using(plugin: type[RightPlugin]) -> RightFactory:
    """The right factory with a wrong plugin."""
    factory = RightFactory()
    factory.plugin = plugin
    return factory
