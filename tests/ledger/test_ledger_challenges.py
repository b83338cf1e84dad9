"""The contract suites of one-time challenges, notices and leases, on both databases."""

from __future__ import annotations

from tests.contracts import ledger_challenges_contract as challenges
from tests.contracts import ledger_notices_contract as notices


class TestOpenChallenges(challenges.OpenChallenges):
    pass


class TestSpending(challenges.Spending):
    pass


class TestLostReply(challenges.LostReply):
    pass


class TestFollowing(challenges.Following):
    pass


class TestOutbox(notices.Outbox):
    pass


class TestLeasing(notices.Leasing):
    pass
