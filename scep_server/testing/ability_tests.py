"""The contract about what a plugin may do beside judging: routes, counters, jobs, minting, notices, checks."""

from __future__ import annotations

import re
from typing import Final

from scep_server.errors import ConfigurationError, Malformed, Refusal, ScepServerError, TooManyAttempts
from scep_server.interfaces import (
    ChecksItself,
    DeclaresCounters,
    HasAddresses,
    HasJobs,
    HasRoutes,
    Mints,
    PullsRevocations,
    TakesNotices,
)
from scep_server.testing.attempts import make_certificate
from scep_server.testing.strangers import requests_of_strangers
from scep_server.testing.suite import Suite, does_not_apply, in_a_trial
from scep_server.testing.trial import NAME, Trial, broken, must
from scep_server.types import (
    Finding,
    Grant,
    HttpAnswer,
    MintOrder,
    NameBinding,
    Notice,
    NoticeKind,
    RevocationOutcome,
    RevocationResult,
)

EVENT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
MOST_COUNTERS: Final = 32
JOB: Final = re.compile(r"[a-z][a-z0-9 _-]{0,63}")
SHORTEST_PACE: Final = 1.0
LONGEST_PACE: Final = 31 * 86400.0
PRINTABLE: Final = re.compile(r"[A-Za-z0-9 '()+,./:=?-]{8,255}")
"""A PrintableString (X.680) of the length that a challengePassword may have (RFC 2985 section 5.4.1)."""


class AbilityContract(Suite):
    """What protocols of interfaces a plugin and its factory are beside ChallengePlugin."""

    @in_a_trial
    async def test_routes_answer_strangers(self, trial: Trial) -> None:
        """With a status below 500, without minting, and without a secret."""
        if not isinstance(trial.plugin.itself, HasRoutes):
            does_not_apply("it has no routes")
        before = await trial.house.house.challenges.unspent(NAME)
        for template in trial.plugin.itself.routes():
            for request in requests_of_strangers():
                route = trial.plugin.route(template)
                must(route, f"routes() no longer names {template}")
                what = f"{template} answers a stranger's {request.method} of {len(request.body)} octets with"
                try:
                    answer = await route(request) if route else HttpAnswer(500)
                except (TooManyAttempts, Malformed):
                    continue
                except ScepServerError as error:
                    broken(f"{what} {type(error).__name__}, which is 503: {error}")
                _check_answer(answer, what)
                trial.must_not_tell(f"{answer.body!r} {dict(answer.headers)}", f"the answer of {template}")
        must(await trial.house.house.challenges.unspent(NAME) == before, "a stranger was given a challenge")

    @in_a_trial
    async def test_addresses_lead_to_routes(self, trial: Trial) -> None:
        """What `integration add` shows as an address is served."""
        if not isinstance(self.factory, HasAddresses):
            does_not_apply("it has no addresses beside the SCEP URL")
        for called, path in self.factory.addresses.items():
            served = trial.plugin.route(path.rstrip("/"))
            must(served is not None, f"the address {called} is {path}, which routes() does not serve")

    @in_a_trial
    async def test_counters_are_declared_soundly(self, trial: Trial) -> None:
        """Known beforehand, few, with a help text. (That nothing else is counted, every test looks at.)"""
        if not isinstance(self.factory, DeclaresCounters):
            does_not_apply("it declares no counters")
        counters = self.factory.counters
        must(len(counters) <= MOST_COUNTERS, f"more than {MOST_COUNTERS} counters")
        for event, text in counters.items():
            must(EVENT.fullmatch(event) and event != "other", f"{event!r} cannot be the name of a counter")
            must(text and "\n" not in text, f"counter {event} needs one line of help")

    @in_a_trial
    async def test_jobs_can_be_repeated(self, trial: Trial) -> None:
        """Each has a name and a sane pace, and can be run again at once: after a crash it is."""
        if not isinstance(trial.plugin.itself, HasJobs):
            does_not_apply("it has no jobs")
        names = [job.name for job in trial.plugin.jobs]
        must(len(names) == len(set(names)), "two jobs have one name")
        for job in trial.plugin.jobs:
            must(JOB.fullmatch(job.name), f"{job.name!r} cannot be the name of a job")
            must(SHORTEST_PACE <= job.seconds <= LONGEST_PACE, f"job {job.name} every {job.seconds} seconds")
            for _ in range(2):
                await trial.plugin.run(job)

    @in_a_trial
    async def test_minted_challenges_are_sound(self, trial: Trial) -> None:
        """Different ones, that forms and Windows can carry, that admit, and that stay bound."""
        if not isinstance(trial.plugin.itself, Mints):
            does_not_apply("it mints no challenges")
        binding = NameBinding(subject=self.subject)
        orders = (MintOrder(), MintOrder(), MintOrder(binding=binding))
        minted = await trial.plugin.mint(orders, "the contract")
        must(len({one.challenge for one in minted}) == len(orders), "not one challenge for each order")
        for one, order in zip(minted, orders, strict=True):
            trial.secrets[one.challenge] = "a minted challenge"
            must(PRINTABLE.fullmatch(one.challenge), "a minted challenge is no PrintableString of 8 to 255 characters")
            must(one.expires_at > trial.house.clock(), "a minted challenge has expired already")
            said = await trial.judged(one.challenge)
            must(isinstance(said, Grant) and said.consumes, "a minted challenge is not granted, or not for once")
            must(isinstance(said, Grant) and said.binding == order.binding, "a minted challenge loses its binding")
        try:
            await trial.plugin.mint((MintOrder(uses=0),), "the contract")
        except ConfigurationError:
            return
        broken("mint() takes an order for a challenge of no use; raise ConfigurationError")

    @in_a_trial
    async def test_notices_can_be_told_again(self, trial: Trial) -> None:
        """They are told at least once, so the same one may come twice."""
        if not isinstance(trial.plugin.itself, TakesNotices):
            does_not_apply("it takes no notices")
        attempt = trial.attempt(await self.right(trial))
        certificate, now = make_certificate(attempt), trial.house.clock()
        issued = Notice("id-1", NoticeKind.ISSUED, NAME, now, "TID", self.subject, 1, certificate=certificate)
        failed = Notice("id-2", NoticeKind.FAILED, NAME, now, "TID", self.subject, reason="subject_refused")
        for notice in (issued, issued, failed, failed):
            try:
                await trial.plugin.notified(notice)
            except Refusal as given_up:
                trial.must_not_tell(str(given_up), "the text of a Refusal")

    @in_a_trial
    async def test_it_can_check_itself(self, trial: Trial) -> None:
        """`integration test` says in one line each what is wrong and what mends it, and no secret."""
        if not isinstance(trial.plugin.itself, ChecksItself):
            does_not_apply("it has no check of itself")
        findings = await trial.plugin.check()
        must(findings, "check() finds nothing at all")
        for finding in findings:
            must(isinstance(finding, Finding) and finding.step and finding.text, "a finding says nothing")
            must(finding.passed or finding.remedy, f"finding {finding.step!r} failed and names no remedy")
            trial.must_not_tell(f"{finding.text} {finding.remedy}", f"finding {finding.step!r}")

    @in_a_trial
    async def test_revocations_can_be_pulled_again(self, trial: Trial) -> None:
        """A crash between pull and result has both repeated."""
        if not isinstance(trial.plugin.itself, PullsRevocations):
            does_not_apply("it knows of no revocations")
        pace = trial.plugin.pull_seconds or 0.0
        must(SHORTEST_PACE <= pace <= LONGEST_PACE, f"revocations are pulled every {pace} seconds")
        for _ in range(2):
            requests = await trial.plugin.revocation_requests()
            results = [RevocationResult(request, RevocationOutcome.NOT_FOUND) for request in requests]
            await trial.plugin.revocations_done(results)


def _check_answer(answer: HttpAnswer, what: str) -> None:
    must(isinstance(answer, HttpAnswer), f"{what} {type(answer).__name__}, which is no HttpAnswer")
    must(200 <= answer.status < 500, f"{what} status {answer.status}")
    must(isinstance(answer.body, bytes), f"{what} a body that is not octets")
    headers = (*answer.headers, *answer.headers.values(), answer.content_type)
    must(all(isinstance(text, str) and text.isprintable() for text in headers), f"{what} headers that cannot be sent")
