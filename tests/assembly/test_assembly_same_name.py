"""What an integration gave out ends with it: another one of the same name admits nobody by it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scep_server.assembly.site import utc_now
from scep_server.enrollment.reconcile import reconcile
from scep_server.errors import ConfigurationError
from scep_server.types import EntryState, Minted, MintOrder, Notice, NoticeKind, PasswordHint
from tests.e2e.identities import Device, ec_key, rsa_key
from tests.enrollment.conftest import CHALLENGE, Walk, made_data, settings, walk
from tests.enrollment.test_one_time_repeats import under_challenge
from tests.enrollment.test_road import interrupted

__all__ = ["made_data", "settings", "walk"]


async def minted_by_one(walk: Walk, challenge: str) -> Minted:
    await walk.site.integrations.add("mdm", challenge, {}, {})
    (minted,) = await walk.site.mint("mdm", [MintOrder()])
    walk.site.activate()
    return minted


async def enrol(walk: Walk, challenge: str) -> str:
    device = Device.named("laptop", rsa_key(1))
    return (await walk.send(walk.request(device, "t-1", challenge), integration="mdm")).status


@pytest.mark.parametrize("next_challenge", ["dynamic", "jamf"])
async def test_a_challenge_ends_with_its_integration(walk: Walk, next_challenge: str) -> None:
    minted = await minted_by_one(walk, "dynamic")
    await walk.site.integrations.delete("mdm")
    await walk.site.integrations.add("mdm", next_challenge, {}, {})
    walk.site.activate()
    assert await enrol(walk, minted.challenge) == "FAILURE"
    (again,) = await walk.site.mint("mdm", [MintOrder()])
    assert await enrol(walk, again.challenge) == "SUCCESS"


@pytest.mark.parametrize("changed", [{"enabled": True}, {"plugin_options": {"lifetime_minutes": "5"}}])
async def test_a_challenge_outlives_a_change_of_its_integration(walk: Walk, changed: dict[str, Any]) -> None:
    minted = await minted_by_one(walk, "dynamic")
    await walk.site.integrations.set("mdm", {"pickup_window": "600"}, **changed)
    await walk.site.integrations.rotate("mdm", {})
    walk.site.activate()
    assert await enrol(walk, minted.challenge) == "SUCCESS"


async def test_a_kept_challenge_ends_with_its_integration(walk: Walk) -> None:
    async def keeping(mint: bool) -> None:
        await walk.site.integrations.add("mdm", "dynamic", {}, {"kept_for_ec": "on"})
        walk.site.activate()
        if mint:
            await walk.site.mint("mdm", [MintOrder(transaction_id="t-1")])

    async def revealed() -> int:
        return len(await walk.site.registry.get("mdm").judge().reveal(PasswordHint("t-1")))

    await keeping(mint=True)
    assert await revealed() == 1
    await walk.site.integrations.delete("mdm")
    await keeping(mint=False)
    assert await revealed() == 0


async def test_what_one_granted_is_not_asked_of_the_next(walk: Walk) -> None:
    """Another kind of integration, for which what the first one noted about its grant makes no sense."""
    device = Device.named("ec", ec_key(1))
    secret = (await walk.site.integrations.add("mdm", "static", {}, {})).secrets["challenge"]
    walk.site.activate()
    assert (await walk.send(under_challenge(device, "t-1", secret), integration="mdm")).status == "SUCCESS"
    await walk.site.integrations.delete("mdm")
    await walk.site.integrations.add("mdm", "dynamic", {}, {"kept_for_ec": "on"})
    walk.site.activate()
    (minted,) = await walk.site.mint("mdm", [MintOrder(transaction_id="t-1")])
    assert (await walk.send(under_challenge(device, "t-1", minted.challenge), integration="mdm")).status == "SUCCESS"


async def test_what_is_to_be_told_to_one_is_not_told_to_the_next(walk: Walk) -> None:
    """It holds names and certificates, and the next one's receiver may be somebody else's."""
    settings = {"url": "https://receiver.invalid/scep"}
    await walk.site.integrations.add("mdm", "webhook", {}, settings)
    before = Notice("n-1", NoticeKind.FAILED, "mdm", utc_now(), "t-1", "CN=secret project")
    await walk.site.integrations.delete("mdm")
    await walk.site.integrations.add("mdm", "webhook", {}, settings)
    after = Notice("n-2", NoticeKind.FAILED, "mdm", utc_now(), "t-2", "CN=laptop")
    await walk.site.ledger.record((), [before, after])
    walk.site.activate()
    (outbox,) = [work for work in walk.site.work() if work.name == "outbox"]
    await outbox.run()
    (kept,) = walk.site.ledger.due_notices(utc_now() + timedelta(days=1), 10)
    assert (kept.id, kept.tries) == ("n-2", 1)
    (dropped,) = [row.body for row in walk.site.ledger.events() if "notice.dropped" in row.body]
    assert "n-1" in dropped


async def anew(walk: Walk, secret: str) -> None:
    """Another integration of the same name, which would let the same device in."""
    await walk.site.integrations.delete("default")
    await walk.site.integrations.add("default", "static", {}, {"challenge": secret})
    walk.site.activate()


async def test_what_one_left_unsigned_is_not_released_by_the_next(walk: Walk) -> None:
    body = walk.request(Device.named("laptop", rsa_key(1)), "t-1")
    await interrupted(walk, body, "sign")
    await anew(walk, CHALLENGE)
    assert (await walk.send(body)).status == "FAILURE"
    assert [entry.state for entry in walk.site.ledger.entries()] == [EntryState.REVOKED]


async def test_what_one_left_pending_is_not_approved_under_the_next(walk: Walk) -> None:
    await walk.site.integrations.set("default", {"approval": "manual"})
    walk.site.activate()
    await walk.send(walk.request(Device.named("laptop", rsa_key(1)), "t-1"))
    await anew(walk, CHALLENGE)
    (pending,) = walk.site.ledger.entries()
    with pytest.raises(ConfigurationError, match=r"was deleted.*request reject"):
        await walk.site.approve(pending.id)
    assert (await walk.site.reject(pending.id)).state is EntryState.FAILED


async def test_the_next_is_told_nothing_of_what_one_left_unfinished(walk: Walk) -> None:
    await walk.site.integrations.set("default", {"approval": "manual"})
    walk.site.activate()
    for number in range(2):
        await walk.send(walk.request(Device.named(f"laptop-{number}", rsa_key(1)), f"t-{number}"))
    await walk.site.integrations.delete("default")
    receiver = {"url": "https://receiver.invalid/scep", "notify_url": "https://receiver.invalid/told"}
    await walk.site.integrations.add("default", "webhook", {}, receiver)
    walk.site.activate()
    assert walk.site.registry.get("default").judge().takes_notices
    rejected, expired = walk.site.ledger.entries()
    await walk.site.reject(rejected.id)
    site, later = walk.site, expired.pickup_until + timedelta(seconds=1)
    site.ledger._clock = lambda: later
    assert (await reconcile(site.ledger, site.registry, site.issuing, site.stored, lambda: later)).expired == 1
    assert walk.site.ledger.due_notices(later + timedelta(days=1), 10) == []
