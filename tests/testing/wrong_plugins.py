"""Plugins that are wrong in one way each; the rest of them is right_plugin.py's."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from datetime import timedelta
from typing import Any, ClassVar

from scep_server.errors import ConfigurationError, Fault, PluginFault, Reason, Refusal
from scep_server.types import UNBOUND, Finding, Grant, HttpAnswer, Minted, OpenChallenge, PluginJob
from tests.testing.right_plugin import RightFactory, RightPlugin

log = logging.getLogger(__name__)


class Strange(Exception):
    """An exception of somebody else's code."""


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


class GrantsOddly(RightPlugin):
    """A Grant that a type checker would not have let pass."""

    oddity: ClassVar[dict[str, Any]] = {}

    async def redeem(self, attempt):
        return dataclasses.replace(await super().redeem(attempt), **self.oddity)


class GrantsForNoUse(GrantsOddly):
    oddity: ClassVar = {"uses": 0}


class RefersByOctets(GrantsOddly):
    oddity: ClassVar = {"reference": b"octets"}


class ConsumesAList(GrantsOddly):
    oddity: ClassVar = {"consumes": [bytes(32)]}


class ConsumesAShortMac(RightPlugin):
    def mac(self, offered):
        return super().mac(offered)[:8]


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


class RevealsAnother(RightPlugin):
    async def reveal(self, hint):
        return (b"another password",)


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


class AnswersAText(RightPlugin):
    async def hello(self, request):
        return "hello"


class AnswersWithoutOctets(RightPlugin):
    async def hello(self, request):
        return HttpAnswer(200, "hello")


class AnswersWithLineBreaks(RightPlugin):
    async def hello(self, request):
        return HttpAnswer(200, headers={"X-Hello": "hello\r\nSet-Cookie: a=b"})


class WorksUnderOneName(RightPlugin):
    def jobs(self):
        return (PluginJob("count", 60.0, self.count),) * 2


class WorksUnderNoName(RightPlugin):
    def jobs(self):
        return (PluginJob("count\n", 60.0, self.count),)


class MintsRightly(RightPlugin):
    """Keeps what it minted in memory; each of those below is wrong in one line of it."""

    def __init__(self, host, secret):
        super().__init__(host, secret)
        self.minted = {}

    def is_right(self, offered):
        return offered in self.minted

    async def redeem(self, attempt):
        grant = await super().redeem(attempt)
        return dataclasses.replace(grant, binding=self.minted[attempt.request.challenge])

    async def mint(self, orders, requester):
        if any(order.uses < 1 for order in orders):
            raise ConfigurationError("a challenge has at least one use")
        return [self.made(order) for order in orders]

    def made(self, order):
        challenge = self.spelled()
        self.minted[challenge] = order.binding
        return Minted(challenge, self.host.clock() + timedelta(hours=1))

    def spelled(self):
        return os.urandom(16).hex()


class MintsTheSame(MintsRightly):
    def made(self, order):
        if order.binding:
            return super().made(order)
        self.minted[self.secret] = UNBOUND
        return Minted(self.secret, self.host.clock() + timedelta(hours=1))


class MintsWhatWindowsCannotSend(MintsRightly):
    def spelled(self):
        return "under_score_" + super().spelled()


class MintsTooLate(MintsRightly):
    def made(self, order):
        return Minted(super().made(order).challenge, self.host.clock())


class MintsWhatItDoesNotTake(MintsRightly):
    def made(self, order):
        return Minted(self.spelled(), self.host.clock() + timedelta(hours=1))


class MintsWithoutTheNames(MintsRightly):
    def made(self, order):
        return super().made(dataclasses.replace(order, binding=UNBOUND))


class MintsForNoUse(MintsRightly):
    async def mint(self, orders, requester):
        return [self.made(order) for order in orders]


class TakesANoticeOnce(RightPlugin):
    taken = False

    async def notified(self, notice):
        if self.taken:
            raise Fault("known already")
        self.taken = True


class ChecksNothing(RightPlugin):
    async def check(self):
        return ()


class ChecksWithoutWords(RightPlugin):
    async def check(self):
        return (Finding("door", passed=True, text=""),)


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
