"""Making, rotating and checking a dynamic integration: what is shown once, what is stored, what is refused (N3)."""

from __future__ import annotations

import dataclasses
import json

import pytest

from challenge_plugins.dynamic import PLUGIN
from challenge_plugins.dynamic.credentials import ALPHABET
from scep_server import plugins
from scep_server.errors import ChallengesFull, ConfigurationError
from scep_server.interfaces import DeclaresCounters, DescribesSettings, HasAddresses
from scep_server.keyfile import SecretKeyFile
from scep_server.types import MintOrder
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.one_time_requests import PAGE, SOURCE, Minting, basic

KEYS = SecretKeyFile(b"k" * 32)


def test_login_is_generated_strong_and_shown_once() -> None:
    made = [PLUGIN.create("corp", {}, KEYS) for _ in range(20)]
    assert {tuple(shown) for _, shown in made} == {("username", "password")}
    assert len({shown["password"] for _, shown in made}) == 20
    for settings, shown in made:
        assert len(shown["password"]) == 32
        assert set(shown["password"]) <= set(ALPHABET)
        assert shown["username"].startswith("scep-")
        assert shown["password"] not in json.dumps(settings)
        assert PLUGIN.shown("corp", settings, KEYS) == {"username": shown["username"]}


def test_token_and_user_name_are_by_setting() -> None:
    _, shown = PLUGIN.create("corp", {"token": "on", "username": "EXAMPLE\\ndes-svc"}, KEYS)
    assert list(shown) == ["username", "password", "token"]
    assert shown["username"] == "EXAMPLE\\ndes-svc"
    assert shown["token"] != shown["password"]


def test_every_setting_is_described_and_its_default_is_taken() -> None:
    assert all(isinstance(PLUGIN, ability) for ability in (DescribesSettings, HasAddresses, DeclaresCounters))
    fields = plugins.fields("dynamic")
    assert [one.name for one in fields] == [
        "lifetime_minutes",
        "ceiling",
        "mint_per_minute",
        "kept_for_ec",
        "username",
        "encoding",
        "token",
    ]
    assert not any(one.secret or one.required for one in fields)
    defaults = {one.name: one.default for one in fields}
    assert PLUGIN.create("corp", defaults, KEYS)[0]["written"] == defaults
    assert plugins.addresses("dynamic", "corp") == {
        "challenge_url": "/scep/corp/mscep_admin/",
        "json_url": "/scep/corp/challenges",
    }
    assert set(plugins.counters()["dynamic"]) >= {"minted", "login_refused", "unknown", "expired"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"lifetime": "5"}, "lifetime_minutes, ceiling"),
        ({"challenge": "chosen-secret-1234"}, "no setting challenge"),
        ({"password": "chosen-secret-1234"}, "no setting password"),
        ({"drop_old": "yes"}, "no setting drop_old"),
        ({"lifetime_minutes": "0"}, "1 to 10080"),
        ({"lifetime_minutes": "10081"}, "1 to 10080"),
        ({"lifetime_minutes": "1.5"}, "1 to 10080"),
        ({"lifetime_minutes": "-1"}, "1 to 10080"),
        ({"lifetime_minutes": "٣"}, "1 to 10080"),
        ({"lifetime_minutes": "9" * 5000}, "1 to 10080"),
        ({"lifetime_minutes": ""}, "1 to 10080"),
        ({"ceiling": "0"}, "off, or a whole number"),
        ({"ceiling": "none"}, "off, or a whole number"),
        ({"mint_per_minute": "off"}, "a whole number"),
        ({"kept_for_ec": "yes"}, "on or off"),
        ({"encoding": "utf-16"}, "utf-8 or utf-16le"),
        ({"token": "1"}, "on or off"),
        ({"username": "a:b"}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "x" * 65}, "username"),
        ({"username": "Zoë"}, "username"),
    ],
)
def test_setting_that_cannot_be_is_refused_without_repeating_it(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        PLUGIN.create("corp", options, KEYS)
    assert "chosen-secret" not in str(refused.value)


async def test_two_passwords_are_valid_during_a_rotation_and_never_three(house: HouseUnderTest) -> None:
    settings, first = PLUGIN.create("corp", {}, house.keys)
    settings, second = PLUGIN.rotate("corp", settings, {}, house.keys)
    assert second["username"] == first["username"]
    assert second["password"] != first["password"]

    async def opens(shown: dict[str, str]) -> bool:
        return (await Minting(house, "dynamic", settings, shown).ask(PAGE)).status == 200

    assert (await opens(first), await opens(second)) == (True, True)
    settings, third = PLUGIN.rotate("corp", settings, {"username": "other"}, house.keys)
    assert third["username"] == "other"
    assert (await opens(first), await opens(second), await opens(third)) == (False, True, True)
    crossed = {"username": second["username"], "password": third["password"]}
    assert not await opens(crossed)
    settings, fourth = PLUGIN.rotate("corp", settings, {"drop_old": "yes"}, house.keys)
    assert (await opens(third), await opens(fourth)) == (False, True)
    assert len(settings["credentials"]) == 1


async def test_settings_change_alone_and_make_no_secret(house: HouseUnderTest) -> None:
    settings, shown = PLUGIN.create("corp", {"lifetime_minutes": "5", "encoding": "utf-16le"}, house.keys)
    changed, told = PLUGIN.rotate("corp", settings, {"keep_secret": "yes", "lifetime_minutes": "9"}, house.keys)
    assert told == {}
    assert changed["credentials"] == settings["credentials"]
    assert changed["written"] == {"lifetime_minutes": "9", "encoding": "utf-16le"}
    assert settings["written"]["lifetime_minutes"] == "5"
    answer = await Minting(house, "dynamic", changed, shown).ask(PAGE)
    assert "within 9 minutes" in answer.body.decode("utf-16-le")
    for fixed in ({"username": "x"}, {"token": "on"}):
        with pytest.raises(ConfigurationError, match="rotate-secret"):
            PLUGIN.rotate("corp", settings, {"keep_secret": "yes", **fixed}, house.keys)
    with pytest.raises(ConfigurationError, match="1 to 10080"):
        PLUGIN.rotate("corp", settings, {"keep_secret": "yes", "lifetime_minutes": "0"}, house.keys)


async def test_the_older_login_ends_and_the_current_one_stays(house: HouseUnderTest) -> None:
    settings, first = PLUGIN.create("corp", {"token": "on"}, house.keys)
    settings, second = PLUGIN.rotate("corp", settings, {}, house.keys)
    ended, told = PLUGIN.rotate("corp", settings, {"keep_secret": "yes", "drop_old": "yes"}, house.keys)
    assert told == {}
    assert {one["way"] for one in ended["credentials"]} == {"basic", "bearer"}
    opened = [(await Minting(house, "dynamic", ended, shown).ask(PAGE)).status for shown in (first, second)]
    assert opened == [401, 200]
    again, _ = PLUGIN.rotate("corp", ended, {"keep_secret": "yes", "drop_old": "yes", "ceiling": "3"}, house.keys)
    assert again == {**ended, "written": {**ended["written"], "ceiling": "3"}}


async def test_a_reached_ceiling_is_on_record_once_a_minute(house: HouseUnderTest) -> None:
    settings, shown = PLUGIN.create("corp", {"ceiling": "1"}, house.keys)
    dynamic = Minting(house, "dynamic", settings, shown)
    await dynamic.ask(PAGE)
    assert dynamic.audited("challenge.ceiling_reached") == []
    live = dynamic.live()
    for _ in range(3):
        await dynamic.ask(PAGE)
    with pytest.raises(ChallengesFull):
        await live.mint((MintOrder(),), "cli:operator")
    (event,) = dynamic.audited("challenge.ceiling_reached")
    assert event["source"] == SOURCE.address
    assert event["detail"]["ceiling"] == 1
    assert event["detail"]["requester"].startswith(f"basic {shown['username']} (")
    assert house.counted("dynamic", "ceiling_reached") == 4
    house.clock.forward(minutes=1)
    with pytest.raises(ChallengesFull):
        await live.mint((MintOrder(),), "cli:operator")
    _, later = dynamic.audited("challenge.ceiling_reached")
    assert (later["detail"]["requester"], later["source"]) == ("cli:operator", "cli:operator")


def test_settings_without_usable_credentials_let_nobody_in(house: HouseUnderTest) -> None:
    settings, _ = PLUGIN.create("corp", {}, house.keys)
    record = settings["credentials"][0]
    for credentials in (
        [],
        [{}],
        [{**record, "mac": ""}],
        [{**record, "mac": "00"}],
        [{**record, "way": "none"}],
        [None],
    ):
        with pytest.raises(ConfigurationError, match="rotate-secret"):
            house.load("dynamic", {**settings, "credentials": credentials})
    with pytest.raises(ConfigurationError):
        house.load("dynamic", {**settings, "written": {"lifetime_minutes": "0"}})


async def test_stored_credential_opens_only_under_its_key_file_and_integration(house: HouseUnderTest) -> None:
    settings, shown = PLUGIN.create("corp", {}, SecretKeyFile(b"o" * 32))
    assert (await Minting(house, "dynamic", settings, shown).ask(PAGE)).status == 401
    settings, shown = PLUGIN.create("other", {}, house.keys)
    assert (await Minting(house, "dynamic", settings, shown).ask(PAGE)).status == 401
    mac = settings["credentials"][0]["mac"]
    replayed = basic(shown["username"], mac)
    assert (await Minting(house, "dynamic", settings, shown, "other").ask(PAGE, headers=replayed)).status == 401


async def test_check_tells_credentials_address_and_room(house: HouseUnderTest) -> None:
    settings, shown = PLUGIN.create("corp", {"ceiling": "2"}, house.keys)
    dynamic = Minting(house, "dynamic", settings, shown)
    findings = await dynamic.live().check()
    assert [(one.step, one.passed) for one in findings] == [
        ("credentials", True),
        ("address", True),
        ("unspent challenges", True),
    ]
    for _ in range(2):
        await dynamic.ask(PAGE)
    *_, room = await dynamic.live().check()
    assert (room.passed, room.text) == (False, "2, ceiling 2")
    assert "ceiling" in room.remedy
    assert shown["password"] not in repr(findings)


async def test_check_warns_of_an_address_without_tls(house: HouseUnderTest) -> None:
    settings, shown = PLUGIN.create("corp", {}, house.keys)
    for public_url, passed in (
        ("http://ca.test", False),
        ("http://localhost.test:8080", False),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("https://ca.test:8443/pki", True),
    ):
        there = dataclasses.replace(house, house=dataclasses.replace(house.house, public_url=public_url))
        _, address, _ = await Minting(there, "dynamic", settings, shown).live().check()
        assert (address.text, address.passed) == (f"public_url is {public_url}", passed)
        assert "https" in address.remedy
