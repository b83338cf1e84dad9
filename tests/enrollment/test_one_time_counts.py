"""scep_server_challenges_total: what became of one-time challenges, each counted once."""

from __future__ import annotations

from datetime import timedelta

from scep_server.assembly.site import utc_now
from scep_server.types import MintOrder, OpenChallenge
from tests.e2e.identities import Device, rsa_key
from tests.enrollment.conftest import HERE, Walk


def counted(walk: Walk) -> dict[str, float]:
    return {event: walk.site.metrics.challenges.total(event) for event in ("minted", "spent", "expired")}


async def test_minted_spent_and_expired_challenges_are_counted_once(walk: Walk) -> None:
    await walk.site.integrations.add("once", "dynamic", {}, {})
    walk.site.activate()
    once, twice = await walk.site.mint("once", [MintOrder(), MintOrder(uses=2)])
    assert counted(walk) == {"minted": 2, "spent": 0, "expired": 0}

    async def enrol(name: str, challenge: str, transaction_id: str) -> str:
        device = Device.named(name, rsa_key(1))
        return (await walk.send(walk.request(device, transaction_id, challenge), HERE, "once")).status

    for transaction_id in ("t-1", "t-1", "t-2"):  # once, and twice more for a lost reply
        assert await enrol("owner", once.challenge, transaction_id) == "SUCCESS"
    assert await enrol("thief", once.challenge, "t-3") == "FAILURE"
    assert await enrol("", twice.challenge, "t-4") == "FAILURE"
    assert counted(walk) == {"minted": 2, "spent": 1, "expired": 0}
    for number in (1, 2):
        assert await enrol(f"use-{number}", twice.challenge, f"u-{number}") == "SUCCESS"
    assert counted(walk) == {"minted": 2, "spent": 3, "expired": 0}

    ended = utc_now() - timedelta(minutes=1)
    late = OpenChallenge("once", b"l" * 32, ended - timedelta(hours=1), ended)
    await walk.site.ledger.challenges.put([late], None, ())
    for _ in range(2):
        await walk.site.expire_challenges()
    assert counted(walk) == {"minted": 2, "spent": 3, "expired": 1}
