"""The contract about judging: yes, no, cannot tell; the same in every process, and nothing given away."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from scep_server.errors import Fault, Reason, Refusal
from scep_server.testing.attempts import LONGEST_IN_A_CSR, make_certificate
from scep_server.testing.suite import Suite, does_not_apply, in_a_trial
from scep_server.testing.trial import Trial, broken, imported_anew, must, verdict
from scep_server.types import Grant, MessageType, PasswordHint

STEPS: Final = 12
"""Turns of the event loop after which a judgement is cancelled."""
SHORTEST_MAC: Final = 16
"""Octets; shorter ones of two challenges would be equal by chance, and one device would spend another's."""
MOST_CANDIDATES: Final = 2
"""Passwords that are tried on one message (RFC 8894 section 7.3)."""


class JudgingContract(Suite):
    """redeem, confirm, report_failure, reveal."""

    @in_a_trial
    async def test_a_right_challenge_is_granted(self, trial: Trial) -> None:
        """With a Grant that the ledger can keep."""
        challenge = await self.right(trial)
        grant = await self._granted(trial, challenge)
        must(isinstance(grant.reference, str), "Grant.reference is no text")
        must(isinstance(grant.uses, int) and grant.uses >= 1, "Grant.uses is less than one")
        must(isinstance(grant.consumes, tuple), "Grant.consumes is no tuple")
        plain = [challenge.encode()]
        plain += [hashlib.new(name, plain[0], usedforsecurity=False).digest() for name in ("md5", "sha1", "sha256")]
        for mac in grant.consumes:
            must(isinstance(mac, bytes) and len(mac) >= SHORTEST_MAC, "Grant.consumes: not the octets of a MAC")
            must(mac not in plain, "Grant.consumes gives the challenge away; use keys.mac")

    @in_a_trial
    async def test_a_wrong_challenge_is_refused(self, trial: Trial) -> None:
        """By a Refusal: a device that is answered 503 would come back for ever."""
        await self.right(trial)
        wrong = await self.wrong_challenge(trial)
        said = await trial.judged(wrong)
        must(isinstance(said, Refusal), f"a wrong challenge is answered with {_told(said)}, not with a Refusal")
        self._keeps_quiet(trial, said, wrong)

    @in_a_trial
    async def test_no_challenge_is_not_granted(self, trial: Trial) -> None:
        """None and the empty text are no secrets that anybody knows."""
        for challenge in (None, ""):
            said = await trial.judged(challenge)
            must(not isinstance(said, Grant), f"the challenge {challenge!r} is granted")

    @in_a_trial
    async def test_a_strange_challenge_is_not_granted(self, trial: Trial) -> None:
        """NULs, too long ones, parts of a right one, and what other programs would take for a command."""
        right = await self.right(trial)
        long = ("x" * LONGEST_IN_A_CSR, "x" * 1_000_000)
        near = (right + "x", right[:-1], right + "\0", "\0" + right, f"{right}\n{right}", right * 2)
        odd = ("\0", " ", "%s%n{0}", "' OR 1=1 --", '{"challenge": true}', "\u202e\u0441", "😀" * 50)
        for challenge in (*near, *odd, *long):
            said = await trial.judged(challenge)
            must(not isinstance(said, Grant), f"the challenge {_described(challenge, right)} is granted")
            self._keeps_quiet(trial, said, challenge)

    @in_a_trial
    async def test_judging_is_repeatable(self, trial: Trial) -> None:
        """A device whose answer was lost asks again: judging spends nothing, the ledger does."""
        attempt = trial.attempt(await self.right(trial))
        first, second = await verdict(trial.plugin, attempt), await verdict(trial.plugin, attempt)
        must(isinstance(first, Grant) and isinstance(second, Grant), "a request that is judged again is not granted")
        self._agree(first, second)

    @in_a_trial
    async def test_processes_agree(self, trial: Trial) -> None:
        """Several share a ledger, and restart: one challenge consumes the same, whoever judges it and when."""
        challenge = await self.right(trial)
        elsewhere = trial.load(factory=imported_anew(self.plugin, self.factory))
        instances = (trial.plugin, trial.load(), elsewhere)
        said = await asyncio.gather(*(trial.judged(challenge, plugin) for plugin in instances * 4))
        for one in said:
            must(isinstance(one, Grant), f"another process says {_told(one)} where this one grants")
            self._agree(said[0], one)

    @in_a_trial
    async def test_a_cancelled_judgement_ends(self, trial: Trial) -> None:
        """A limit of time or a server that stops cancels it, at any moment; it ends at once, and spoils nothing."""
        challenge = await self.right(trial)
        for steps in range(STEPS):
            task = asyncio.ensure_future(trial.plugin.redeem(trial.attempt(challenge)))
            for _ in range(steps):
                await asyncio.sleep(0)
            cancelled = task.cancel()
            await asyncio.wait((task,), timeout=5)
            must(task.done(), "redeem() goes on after it was cancelled")
            must(task.cancelled() or not cancelled, "redeem() keeps its cancellation to itself; raise it again")
        await self._granted(trial, challenge)

    @in_a_trial
    async def test_confirming_is_repeatable(self, trial: Trial) -> None:
        """A crash between confirmation and release has it confirmed again."""
        attempt = trial.attempt(await self.right(trial))
        await trial.plugin.redeem(attempt)
        certificate = make_certificate(attempt)
        for _ in range(2):
            await trial.plugin.confirm(attempt, certificate)

    @in_a_trial
    async def test_a_reported_failure_raises_nothing_strange(self, trial: Trial) -> None:
        """Whatever the failure was. A Fault is for the log."""
        attempt = trial.attempt(await self.right(trial))
        await trial.plugin.redeem(attempt)
        for reason in (Reason.SUBJECT, Reason.CHALLENGE_SPENT, Reason.UNCONFIRMED):
            await trial.plugin.report_failure(attempt, Refusal(reason, "made by the contract"))

    @in_a_trial
    async def test_a_renewal_raises_nothing_strange(self, trial: Trial) -> None:
        """A renewal may bring the challenge along, or none."""
        for challenge in (await self.right(trial), None):
            attempt = trial.attempt(challenge, message_type=MessageType.RENEWAL_REQ)
            self._keeps_quiet(trial, await verdict(trial.plugin, attempt), challenge or "")

    @in_a_trial
    async def test_at_most_two_passwords_are_revealed(self, trial: Trial) -> None:
        """Each is tried on a message, which costs time; the one that this client has is among them."""
        challenge = await self.right(trial)
        reference = (await self._granted(trial, challenge)).reference
        hints = [PasswordHint(), PasswordHint("TID", "cn=device-1"), PasswordHint("TID", reference=reference)]
        revealed = [await trial.plugin.reveal(hint) for hint in hints]
        if not any(revealed):
            does_not_apply("it keeps no password that could be revealed")
        for passwords in revealed:
            must(len(passwords) <= MOST_CANDIDATES, f"reveal() gives more than {MOST_CANDIDATES} passwords")
            must(all(isinstance(one, bytes) and one for one in passwords), "reveal() gives an empty password")
        must(not revealed[-1] or challenge.encode() in revealed[-1], "reveal() does not find what the client used")

    # --- what is looked at in each of them

    async def _granted(self, trial: Trial, challenge: str) -> Grant:
        said = await trial.judged(challenge)
        if not isinstance(said, Grant):
            broken(f"a right challenge is answered with {_told(said)}")
        return said

    def _keeps_quiet(self, trial: Trial, said: Grant | Refusal | Fault, offered: str) -> None:
        """A wrong challenge is often a right one mistyped: it may not stand in an error, which is logged."""
        if isinstance(said, Grant):
            return
        text = f"{said} {said!r}"
        trial.must_not_tell(text, "the text of a Refusal or Fault")
        must(len(offered) < 8 or offered not in text, "the text of a Refusal or Fault repeats the challenge")
        logged = "\n".join(trial.heard.texts)
        must(len(offered) < 8 or offered not in logged, "the log repeats the challenge that was offered")

    def _agree(self, first: object, second: object) -> None:
        if isinstance(first, Grant) and isinstance(second, Grant):
            must(first.consumes == second.consumes, "Grant.consumes differs: the challenge could be used again")
            must((first.uses, first.binding) == (second.uses, second.binding), "Grant.uses or Grant.binding differs")


def _told(said: object) -> str:
    return "a Grant" if isinstance(said, Grant) else f"{type(said).__name__} ({said})"


def _described(challenge: str, right: str) -> str:
    """A challenge for the report, which must not hold a right one."""
    text = challenge.replace(right, "(right)") if right else challenge
    return f"{text[:40]!r}, {len(challenge)} characters," if text != right[:-1] else "that lacks its last character"
