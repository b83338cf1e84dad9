"""Challenges by JSON: what may be asked for, what each wrong wish is answered with, and that it mints nothing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from challenge_plugins.dynamic import PLUGIN
from challenge_plugins.dynamic.json_body import read_object
from scep_server.errors import TooManyAttempts
from scep_server.types import IntegrationOptions, NameBinding
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.one_time_requests import ORDERS, Minting, basic


def made(house: HouseUnderTest, **options: str) -> Minting:
    settings, shown = PLUGIN.create("corp", options, house.keys)
    return Minting(house, "dynamic", settings, shown)


@pytest.fixture
def dynamic(house: HouseUnderTest) -> Minting:
    return made(house)


async def test_one_challenge_and_where_to_use_it(dynamic: Minting) -> None:
    answer = await dynamic.order({})
    assert (answer.status, answer.content_type) == (201, "application/json")
    said = json.loads(answer.body)
    expires_at = (dynamic.house.clock() + timedelta(minutes=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    (minted,) = said.pop("challenges")
    assert said == {"scep_url": "https://ca.test/scep/corp"}
    assert minted == {"challenge": minted["challenge"], "expires_at": expires_at}
    grant = await dynamic.live().redeem(dynamic.attempt(minted["challenge"]))
    assert (grant.uses, grant.binding) == (1, NameBinding())


async def test_challenges_carry_what_they_were_asked_for(dynamic: Minting) -> None:
    asked = {
        "count": 3,
        "subject": "CN=device-1, O=Example",
        "sans": ["dns:device-1.example", "uri:deviceid://1"],
        "device_ids": ["C02XY12345"],
        "lifetime_minutes": 5,
        "uses": 2,
    }
    said = json.loads((await dynamic.order(asked)).body)
    expires_at = (dynamic.house.clock() + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert {one["expires_at"] for one in said["challenges"]} == {expires_at}
    binding = NameBinding("CN=device-1, O=Example", ("dns:device-1.example", "uri:deviceid://1"), ("C02XY12345",))
    for one in said["challenges"]:
        grant = await dynamic.live().redeem(dynamic.attempt(one["challenge"]))
        assert (grant.uses, grant.binding) == (2, binding)
    (event,) = dynamic.audited("challenge.minted")
    detail = event["detail"]
    assert (detail["count"], detail["uses"]) == (3, 2)
    assert (detail["subject"], detail["sans"]) == (asked["subject"], asked["sans"])
    assert detail["device_ids"] == ["C02XY12345"]
    recorded = "".join(row.body for row in dynamic.house.ledger.events())
    assert not any(one["challenge"] in recorded for one in said["challenges"])


async def test_one_device_may_be_named_alone(dynamic: Minting) -> None:
    said = json.loads((await dynamic.order({"device_id": "C02XY12345"})).body)
    grant = await dynamic.live().redeem(dynamic.attempt(said["challenges"][0]["challenge"]))
    assert grant.binding == NameBinding(device_ids=("C02XY12345",))


async def test_a_thousand_at_once_are_all_kept(house: HouseUnderTest) -> None:
    dynamic = made(house, mint_per_minute="1000")
    said = json.loads((await dynamic.order({"count": 1000})).body)
    assert len({one["challenge"] for one in said["challenges"]}) == 1000 == await dynamic.unspent()
    assert dynamic.house.counted("dynamic", "minted") == 1000
    assert len(dynamic.audited("challenge.minted")) == 1


WRONG = {
    "count 0": ({"count": 0}, "count"),
    "count above": ({"count": 1001}, "count"),
    "count above the rate": ({"count": 601}, "600"),
    "count negative": ({"count": -1}, "count"),
    "count true": ({"count": True}, "count"),
    "count text": ({"count": "1"}, "count"),
    "count fraction": ({"count": 1.0}, "count"),
    "count null": ({"count": None}, "count"),
    "unknown": ({"Subject": "CN=a"}, "unknown"),
    "both device forms": ({"device_id": "C02XY", "device_ids": []}, "not both"),
    "no device among the devices": ({"device_ids": []}, "names no device"),
    "device id number": ({"device_id": 7}, "device_id must be a text"),
    "device id null": ({"device_id": None}, "device_id must be a text"),
    "device id short": ({"device_id": "123"}, "device id"),
    "device id of two words": ({"device_id": "C02 XY"}, "device id"),
    "device ids text": ({"device_ids": "C02XY"}, "list"),
    "device ids many": ({"device_ids": [f"device{n}" for n in range(21)]}, "at most 20"),
    "subject empty": ({"subject": ""}, "subject"),
    "subject no name": ({"subject": "device-1"}, "subject"),
    "subject null": ({"subject": None}, "subject"),
    "subject control": ({"subject": "CN=a\x00b"}, "subject"),
    "subject right to left": ({"subject": "CN=a\u202eb"}, "subject"),
    "subject half a pair": ({"subject": "CN=\ud800"}, "subject"),
    "subject long": ({"subject": "CN=" + "a" * 1100}, "subject"),
    "subject part long": ({"subject": "O=" + "a" * 300}, "subject"),
    "subject of too many parts": ({"subject": ",".join(["OU=a"] * 51)}, "subject"),
    "san bare": ({"sans": ["host.example"]}, "alternative name"),
    "san empty": ({"sans": ["dns:"]}, "alternative name"),
    "san long": ({"sans": ["uri:" + "a" * 1100]}, "at most 1024"),
    "san kind": ({"sans": ["dirname:CN=a"]}, "alternative name"),
    "san number": ({"sans": [1]}, "sans"),
    "san address": ({"sans": ["ip:300.1.1.1"]}, "ip"),
    "san half a pair": ({"sans": ["dns:\ud800"]}, "sans"),
    "san control": ({"sans": ["dns:a\nb"]}, "control"),
    "san host of another script": ({"sans": ["dns:b\u00fcro.example"]}, "xn--"),
    "san mail of another script": ({"sans": ["email:zo\u00eb@example.org"]}, "xn--"),
    "san uri of another script": ({"sans": ["uri:https://b\u00fcro.example/"]}, "xn--"),
    "sans many": ({"sans": ["dns:a.example"] * 51}, "at most 50"),
    "lifetime 0": ({"lifetime_minutes": 0}, "lifetime"),
    "lifetime long": ({"lifetime_minutes": 10081}, "lifetime"),
    "lifetime huge": ({"lifetime_minutes": 10**30}, "lifetime"),
    "uses 0": ({"uses": 0}, "uses"),
    "uses above": ({"uses": 1001}, "uses"),
    "transaction id not kept": ({"transaction_id": "t"}, "kept_for_ec"),
    "a list": ([], "object"),
    "a text": ("count", "object"),
}


async def test_a_transaction_id_is_for_one_challenge(house: HouseUnderTest) -> None:
    dynamic = made(house, kept_for_ec="on")
    answer = await dynamic.order({"transaction_id": "T-1", "count": 2})
    assert (answer.status, "transaction_id is for one challenge" in json.loads(answer.body)["error"]) == (400, True)
    assert await dynamic.unspent() == 0
    assert (await dynamic.order({"transaction_id": "T-1", "count": 1})).status == 201


async def test_no_challenge_is_for_a_name_that_the_integration_does_not_certify(dynamic: Minting) -> None:
    refused = {"ip:192.0.2.1": "dns,email,ip,uri", "upn:u@a.example": "dns,email,upn,uri"}
    for san, wanted in refused.items():
        answer = await dynamic.order({"sans": ["dns:a.example", san]})
        assert (answer.status, f"--option san_types={wanted}" in json.loads(answer.body)["error"]) == (400, True)
    assert await dynamic.unspent() == 0
    dynamic.options = IntegrationOptions(san_types=frozenset({"dns", "ip", "upn"}))
    assert (await dynamic.order({"sans": ["ip:192.0.2.1", "upn:u@a.example"]})).status == 201


async def test_a_user_s_name_may_be_of_any_script(dynamic: Minting) -> None:
    dynamic.options = IntegrationOptions(san_types=frozenset({"upn"}))
    said = json.loads((await dynamic.order({"sans": ["upn:zo\u00eb@example.org"]})).body)
    grant = await dynamic.live().redeem(dynamic.attempt(said["challenges"][0]["challenge"]))
    assert grant.binding == NameBinding(sans=("upn:zo\u00eb@example.org",))


async def test_wrong_wishes_are_named_and_mint_nothing(dynamic: Minting) -> None:
    for case, (asked, complaint) in WRONG.items():
        answer = await dynamic.order(asked)
        said = json.loads(answer.body)
        assert (answer.status, answer.content_type, set(said)) == (400, "application/json", {"error"}), case
        assert complaint in said["error"], case
    assert await dynamic.unspent() == 0
    assert dynamic.audited("challenge.minted") == []


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b'{"count": NaN}', "not JSON"),
        (b'{"count": 1, "count": 2}', "twice"),
        (b'{"a": {"b": 1, "b": 2}}', "twice"),
        (b"[" * 60000, "deeply"),
        (b'{"a":' * 10000, "deeply"),
        (b'{"count": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * 70000, "more than"),
        (b"null", "no JSON object"),
    ],
)
def test_body_that_is_no_json_object(body: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_object(body)


def test_body_that_is_a_json_object() -> None:
    assert read_object('{"subject": "CN=Zoë", "count": 1}'.encode()) == {"subject": "CN=Zoë", "count": 1}


async def test_only_json_is_taken(dynamic: Minting) -> None:
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        answer = await dynamic.ask(ORDERS, "POST", {**dynamic.login, "content-type": kind}, b"{}", below="")
        assert answer.status == 415
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        answer = await dynamic.ask(ORDERS, "POST", {**dynamic.login, "content-type": kind}, b"{}", below="/")
        assert answer.status == 201


async def test_strangers_get_json_refusals_and_no_challenge(dynamic: Minting) -> None:
    wrong = basic(dynamic.shown["username"], "guess")
    for headers, how, status in (
        ({}, {}, 401),
        (wrong, {}, 401),
        ({"authorization": "Bearer " + dynamic.shown["password"]}, {}, 401),
        (None, {"confidential": False}, 403),
        (None, {"enabled": False}, 403),
    ):
        answer = await dynamic.order({}, headers, **how)
        assert answer.status == status
        assert set(json.loads(answer.body)) == {"error"}
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    for method in ("GET", "HEAD", "PUT"):
        answer = await dynamic.ask(ORDERS, method, below="")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert (await dynamic.ask(ORDERS, "POST", below="/x")).status == 404
    assert await dynamic.unspent() == 0


async def test_wrong_passwords_of_page_and_json_count_together(dynamic: Minting) -> None:
    wrong = basic(dynamic.shown["username"], "guess")
    for _ in range(5):
        assert (await dynamic.order({}, wrong)).status == 401
    with pytest.raises(TooManyAttempts):
        await dynamic.order({}, wrong)
    assert (await dynamic.order({})).status == 201


async def test_token_is_taken_for_json_where_one_was_made(house: HouseUnderTest) -> None:
    dynamic = made(house, token="on")
    bearer = {"authorization": "Bearer " + dynamic.shown["token"]}
    assert (await dynamic.order({}, bearer)).status == 201
    (event,) = dynamic.audited("challenge.minted")
    assert event["detail"]["requester"].startswith("bearer (")
    for wrong in (dynamic.shown["token"] + "x", dynamic.shown["token"].swapcase(), dynamic.shown["password"]):
        assert (await dynamic.order({}, {"authorization": f"Bearer {wrong}"})).status == 401
    off = {**dynamic.settings, "written": {**dynamic.settings["written"], "token": "off"}}
    assert (await Minting(house, "dynamic", off, dynamic.shown).order({}, bearer)).status == 401


async def test_ceiling_refuses_the_whole_batch(house: HouseUnderTest) -> None:
    dynamic = made(house, ceiling="5")
    assert (await dynamic.order({"count": 4})).status == 201
    answer = await dynamic.order({"count": 2})
    assert answer.status == 409
    assert "ceiling" in json.loads(answer.body)["error"]
    assert await dynamic.unspent() == 4
    assert (await dynamic.order({"count": 1})).status == 201


async def test_each_challenge_of_a_batch_counts_against_the_rate(house: HouseUnderTest) -> None:
    dynamic = made(house, mint_per_minute="10")
    assert (await dynamic.order({"count": 8})).status == 201
    with pytest.raises(TooManyAttempts) as refused:
        await dynamic.order({"count": 8})
    assert await dynamic.unspent() == 8
    house.clock.forward(seconds=refused.value.retry_after)
    assert (await dynamic.order({"count": 8})).status == 201
