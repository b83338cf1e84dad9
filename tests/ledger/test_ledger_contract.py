"""The contract suite, on both databases."""

from __future__ import annotations

from tests.contracts import ledger_contract as contract


class TestTwoCommits(contract.TwoCommits):
    pass


class TestRetransmission(contract.Retransmission):
    pass


class TestRaces(contract.Races):
    pass


class TestPending(contract.Pending):
    pass


class TestRevoking(contract.Revoking):
    pass


class TestConfigured(contract.Configured):
    pass
