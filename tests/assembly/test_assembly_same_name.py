"""What an integration gave out ends with it: another one of the same name admits nobody by it."""

from __future__ import annotations

from typing import Any

import pytest

from scep_server.types import Minted, MintOrder
from tests.e2e.identities import Device, rsa_key
from tests.enrollment.conftest import Walk, made_data, settings, walk

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
