"""The live plugin: asks the receiver about each request, and tells it afterwards what became of its yes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from challenge_plugins.webhook import messages
from challenge_plugins.webhook.answers import Verdict, retry_after, verdict
from challenge_plugins.webhook.endpoint import Endpoint
from challenge_plugins.webhook.self_check import findings
from challenge_plugins.webhook.settings import WebhookSettings
from scep_server.errors import Fault, OutboundFault, PluginFault, Reason, Refusal
from scep_server.interfaces import Host
from scep_server.types import Attempt, Certificate, Finding, Grant, HttpAnswer, Notice

PAUSE: Final = 0.25
"""Seconds before another try: enough for a receiver that is being restarted behind its load balancer."""
LEAST_SECONDS: Final = 0.1
"""A try with less time left could not end well."""
TRIED_AGAIN: Final = frozenset({"name", "refused", "cut", "proxy"})
"""Kinds of OutboundFault that may be gone a moment later. A time-out has used up the time; trust does not come back."""
MAX_CHALLENGE: Final = 1024
"""Characters; a challengePassword has at most 255 (RFC 2985 section 5.4.1)."""

COUNTERS: Final = {
    "allowed": "questions that the receiver answered with allow",
    "denied": "questions that the receiver answered with deny",
    "pending": "questions that the receiver left to an operator",
    "faults": "questions without an answer that could be taken",
    "told": "notices that the receiver took",
    "not_told": "notices that the receiver did not take, or refused for good",
}


class WebhookChallenge:
    """Lets the operator's receiver judge. What it decides is its own; ours is that nobody else decided it."""

    judges_renewals = True

    def __init__(self, settings: WebhookSettings, host: Host) -> None:
        self._settings = settings
        self._host = host
        self._endpoint = Endpoint(settings, host.outbound)

    async def redeem(self, attempt: Attempt) -> Grant:
        """Grant for allow and pending, Refusal(DENIED or CHALLENGE) for deny, PluginFault for everything else."""
        if len(attempt.request.challenge or "") > MAX_CHALLENGE:
            raise Refusal(Reason.CHALLENGE, f"challenge of more than {MAX_CHALLENGE} characters")
        try:
            question_id, answer = await self._ask(attempt)
            said = verdict(answer, question_id, self._host.canonical_subject)
        except Fault:
            self._host.count("faults")
            raise
        return self._decided(said, question_id)

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Nothing: a receiver is told by notices, which never hold a reply up (F22)."""

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Nothing: failures too are told by notices."""

    async def check(self) -> Sequence[Finding]:
        """A ping to each address, and one with a wrong signature."""
        return await findings(self._settings, self._endpoint, self._host)

    def _decided(self, said: Verdict, question_id: str) -> Grant:
        if said.decision == "deny":
            self._host.count("denied")
            reason = Reason.CHALLENGE if said.wrong_challenge else Reason.DENIED
            raise Refusal(reason, f"the webhook receiver denied it: {said.reason or 'no reason given'}")
        pending = said.decision == "pending"
        self._host.count("pending" if pending else "allowed")
        return Grant(reference=question_id, pending=pending, binding=said.binding)

    async def _ask(self, attempt: Attempt) -> tuple[str, HttpAnswer]:
        """The id of the question that was answered, and the answer. Each try is a question of its own, with its own id
        and time, so that a receiver never has to tell a repeat from a replay.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.timeout
        tries = self._settings.retries
        while True:
            asked = messages.question(attempt, self._host.clock(), send_challenge=self._settings.send_challenge)
            fault: Fault
            try:
                answer = await self._endpoint.ask(asked, deadline - loop.time())
            except OutboundFault as error:
                if error.kind not in TRIED_AGAIN:
                    raise
                fault = error
            else:
                if answer.status < 500 or retry_after(answer) is not None:
                    return asked.id, answer
                fault = PluginFault(f"the webhook receiver answered {answer.status}")
            if tries == 0 or deadline - loop.time() < PAUSE + LEAST_SECONDS:
                raise fault
            tries -= 1
            await asyncio.sleep(PAUSE)


class NotifyingWebhook(WebhookChallenge):
    """One that also tells the receiver what was issued and what failed."""

    async def notified(self, notice: Notice) -> None:
        """Taken by any 2xx. Refusal for 410: never tell it again. PluginFault otherwise: told again later."""
        try:
            await self._tell(notice)
        except (Refusal, Fault):
            self._host.count("not_told")
            raise
        self._host.count("told")

    async def _tell(self, notice: Notice) -> None:
        message = messages.told(notice, self._host.clock())
        answer = await self._endpoint.tell(message, self._settings.timeout)
        if answer.status == 410:
            raise Refusal(Reason.DENIED, "the webhook receiver answered 410: it does not want this notice")
        if not 200 <= answer.status < 300:
            raise PluginFault(
                f"the webhook receiver answered a notice with {answer.status}", retry_after=retry_after(answer)
            )
