"""What strangers, and pages of other sites, can make a door do."""

from __future__ import annotations

import pytest

from challenge_plugins.dynamic.door import TOLD_PER_MINUTE
from scep_server.plugins import factory
from scep_server.testing import HouseUnderTest
from scep_server.types import Source
from tests.plugins.one_time_requests import ORDERS, PAGE, Minting, basic


@pytest.fixture
def dynamic(house: HouseUnderTest) -> Minting:
    settings, shown = factory("dynamic").create("corp", {}, house.keys)
    return Minting(house, "dynamic", settings, shown)


def refused_logins(dynamic: Minting) -> int:
    return len(dynamic.audited("challenge.login_refused"))


async def test_many_addresses_write_a_bounded_record(dynamic: Minting) -> None:
    wrong = basic(dynamic.shown["username"], "guess")
    guesses = TOLD_PER_MINUTE + 20
    for number in range(guesses):
        source = Source(f"2001:db8:{number:x}::1")
        assert (await dynamic.ask(PAGE, headers=wrong, source=source)).status == 401
    assert dynamic.house.counted("dynamic", "login_refused") == guesses
    assert refused_logins(dynamic) == TOLD_PER_MINUTE
    assert (await dynamic.ask(PAGE)).status == 200, "and whoever has the login is served"
    dynamic.house.clock.forward(minutes=1)
    await dynamic.ask(PAGE, headers=wrong, source=Source("2001:db8:ffff::1"))
    assert refused_logins(dynamic) == TOLD_PER_MINUTE + 1


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
async def test_another_sites_page_mints_nothing_with_a_browsers_login(dynamic: Minting, site: str) -> None:
    assert (await dynamic.ask(PAGE, headers={**dynamic.login, "sec-fetch-site": site})).status == 403
    headers = {**dynamic.login, "content-type": "application/json", "sec-fetch-site": site}
    assert (await dynamic.ask(ORDERS, "POST", headers, b"{}", below="")).status == 403
    assert await dynamic.unspent() == 0


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_whoever_types_the_address_gets_a_challenge(dynamic: Minting, site: str) -> None:
    assert (await dynamic.ask(PAGE, headers={**dynamic.login, "sec-fetch-site": site})).status == 200
    assert await dynamic.unspent() == 1
