"""Jamf Pro's webhook: the bare challenge for right events, bound to the device they name; nothing for anybody else."""

from __future__ import annotations

import json
import re

import pytest

from challenge_plugins.jamf import PLUGIN
from scep_server import plugins
from scep_server.errors import ConfigurationError, Reason, Refusal, TooManyAttempts
from scep_server.keyfile import SecretKeyFile
from scep_server.types import HttpAnswer, NameBinding
from tests.house.tree import ROOT
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.one_time_requests import WEBHOOK, Minting, basic
from tests.plugins.test_plugin_jamf_bodies import BOMBS, EVENT, HEAD, XML, in_json

KEYS = SecretKeyFile(b"k" * 32)
DEVICE = {"uuid": "5B9B9E0E-1F6D-4E0C-8D5A-6E2B1F0C9A11", "serialNumber": "C02XY12345"}


def made(house: HouseUnderTest, name: str = "corp", **options: str) -> Minting:
    settings, shown = PLUGIN.create(name, options, house.keys)
    return Minting(house, "jamf", settings, shown, name)


async def post(jamf: Minting, body: bytes, kind: str = "application/json", **how) -> HttpAnswer:
    headers = how.pop("headers", None)
    sent = {"content-type": kind, **(jamf.login if headers is None else headers)}
    return await jamf.ask(WEBHOOK, how.pop("method", "POST"), sent, body, below=how.pop("below", ""), **how)


async def binding_of(jamf: Minting, answer: HttpAnswer) -> NameBinding:
    assert answer.status == 200, answer.body
    return (await jamf.live().redeem(jamf.attempt(answer.body.decode()))).binding


async def test_json_event_gets_the_bare_challenge(house: HouseUnderTest) -> None:
    jamf = made(house)
    answer = await post(jamf, in_json())
    assert (answer.status, answer.content_type) == (200, "text/plain")
    assert re.fullmatch(rb"[0-9A-F]{32}", answer.body)
    assert await binding_of(jamf, answer) == NameBinding()


async def test_xml_event_gets_the_bare_challenge(house: HouseUnderTest) -> None:
    jamf = made(house)
    answer = await post(jamf, (XML % "<device><udid>A-1-2</udid></device>").encode(), "text/xml")
    assert re.fullmatch(rb"[0-9A-F]{32}", answer.body)
    assert await binding_of(jamf, answer) == NameBinding(device_ids=("A-1-2",))


async def test_challenge_is_bound_to_all_names_of_the_device(house: HouseUnderTest) -> None:
    jamf = made(house)
    bound = await binding_of(jamf, await post(jamf, in_json(device=DEVICE)))
    assert bound == NameBinding(device_ids=tuple(DEVICE.values()))
    (event,) = jamf.audited("challenge.minted")
    assert event["detail"]["device_ids"] == list(DEVICE.values())
    assert event["detail"]["profile"] == EVENT["payloadIdentifier"]
    assert event["detail"]["event_at"] == "2025-09-09T16:32:58Z"
    off = made(house, "off", bind_device="off")
    assert await binding_of(off, await post(off, in_json(device=DEVICE))) == NameBinding()


async def test_device_that_no_certificate_could_name_gets_none(house: HouseUnderTest) -> None:
    """Unbound would be more than was asked for."""
    jamf = made(house)
    for device in ({"serialNumber": "123"}, {"udid": "a b c d"}, {"udid": "\u202e1234"}):
        assert (await post(jamf, in_json(device=device))).status == 422
    assert await jamf.unspent() == 0
    both = await post(jamf, in_json(device={"serialNumber": "123", "udid": "A-1-2"}))
    assert await binding_of(jamf, both) == NameBinding(device_ids=("A-1-2",))


async def test_the_event_that_the_page_has_operators_send_gets_a_bound_challenge(house: HouseUnderTest) -> None:
    page = (ROOT / "docs/jamf-pro.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"^curl -u .* -d '\n(.*?)'$", page, re.MULTILINE | re.DOTALL)
    jamf = made(house)
    bound = await binding_of(jamf, await post(jamf, body.encode()))
    assert bound.device_ids == tuple(json.loads(body)["event"]["device"].values())


async def test_event_sent_again_gets_another_challenge_and_nothing_more(house: HouseUnderTest) -> None:
    jamf = made(house)
    answers = {(await post(jamf, in_json(device=DEVICE))).body for _ in range(3)}
    assert len(answers) == 3 == await jamf.unspent()
    for body in answers:
        grant = await jamf.live().redeem(jamf.attempt(body.decode()))
        assert (grant.uses, bool(grant.binding)) == (1, True)


async def test_what_an_event_says_of_itself_decides_nothing(house: HouseUnderTest) -> None:
    jamf = made(house)
    odd = {"webhook": {**HEAD, "eventTimestamp": "soon"}, "event": {"payloadIdentifier": ["x"]}}
    assert (await post(jamf, json.dumps(odd).encode())).status == 200
    (event,) = jamf.audited("challenge.minted")
    assert event["detail"].keys() == {"count", "expires_at", "uses", "requester"}
    hostile = (
        b'{"webhook": {"webhookEvent": "SCEPChallenge"}, "event": {"payloadIdentifier": "\\ud800\\r\\n\\u001b[31m"}}'
    )
    assert (await post(jamf, hostile)).status == 200
    assert "\x1b" not in "".join(row.body for row in house.ledger.events())


async def test_challenge_expires_and_opens_its_integration_only(house: HouseUnderTest) -> None:
    jamf, other = made(house, lifetime_minutes="10"), made(house, "other")
    challenge = (await post(jamf, in_json())).body.decode()
    with pytest.raises(Refusal) as refused:
        await other.live().redeem(other.attempt(challenge))
    assert refused.value.reason is Reason.CHALLENGE
    house.clock.forward(minutes=10)
    with pytest.raises(Refusal) as refused:
        await jamf.live().redeem(jamf.attempt(challenge))
    assert refused.value.reason is Reason.CHALLENGE_EXPIRED


# --- who gets none


async def test_strangers_are_turned_away_and_nothing_is_minted(house: HouseUnderTest) -> None:
    jamf, other = made(house), made(house, "other")
    wrong = basic(jamf.shown["username"], "guess")
    for headers in ({}, wrong, other.login, {"authorization": "Bearer " + jamf.shown["password"]}):
        answer = await post(jamf, in_json(), headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    answer = await post(jamf, in_json(), confidential=False)
    assert (answer.status, "WWW-Authenticate" in answer.headers) == (403, False)
    assert (await post(jamf, in_json(), enabled=False)).status == 403
    assert (await post(jamf, in_json(), below="/x")).status == 404
    for method in ("GET", "HEAD", "PUT"):
        answer = await post(jamf, in_json(), method=method)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert await jamf.unspent() == 0
    assert house.counted("jamf", "login_refused") == 2


async def test_guessing_is_slowed_down_and_the_right_login_is_not(house: HouseUnderTest) -> None:
    jamf = made(house)
    wrong = basic(jamf.shown["username"], "guess")
    for _ in range(5):
        assert (await post(jamf, in_json(), headers=wrong)).status == 401
    with pytest.raises(TooManyAttempts):
        await post(jamf, in_json(), headers=wrong)
    assert (await post(jamf, in_json())).status == 200


async def test_bodies_are_not_read_before_the_login_is_right(house: HouseUnderTest) -> None:
    jamf = made(house)
    assert (await post(jamf, BOMBS["billion laughs"].encode(), "text/xml", headers={})).status == 401


WRONG = [
    (json.dumps({"webhook": {**HEAD, "webhookEvent": "ComputerAdded"}, "event": {}}).encode(), "application/json", 422),
    (json.dumps({"event": EVENT}).encode(), "application/json", 422),
    (json.dumps({"webhook": {**HEAD, "webhookEvent": "scepchallenge"}}).encode(), "application/json", 422),
    (b"{}", "application/json", 422),
    (b"<JSSEvent/>", "text/xml", 422),
    (b"[]", "application/json", 400),
    (b"{", "application/json", 400),
    (b"[" * 60000, "application/json", 400),
    (b'{"a":' * 10000, "application/json", 400),
    (b" " * 70000, "application/json", 400),
    (b"<JSSEvent>" + b"<a>" * 15000, "text/xml", 400),
    (b"<event/>", "text/xml", 400),
    (in_json(device={"uuid": 7}), "application/json", 400),
    (in_json(), "text/xml", 400),
    ((XML % "").encode(), "application/json", 400),
    (b"hello", "text/plain", 415),
    *((bomb.encode(), "application/xml", 400) for bomb in BOMBS.values()),
]


async def test_wrong_events_are_told_so_in_our_own_words_and_mint_nothing(house: HouseUnderTest) -> None:
    jamf = made(house)
    for body, kind, status in WRONG:
        answer = await post(jamf, body, kind)
        assert (answer.status, answer.content_type) == (status, "text/plain; charset=utf-8"), body[:80]
        assert len(answer.body) < 200
        assert b"ComputerAdded" not in answer.body
    assert await jamf.unspent() == 0
    assert jamf.audited("challenge.minted") == []


async def test_ceiling_and_rate_hold_here_too(house: HouseUnderTest) -> None:
    full = made(house, "full", ceiling="1")
    assert (await post(full, in_json())).status == 200
    assert (await post(full, in_json())).status == 409
    assert await full.unspent() == 1
    slow = made(house, "slow", mint_per_minute="1")
    assert (await post(slow, in_json())).status == 200
    with pytest.raises(TooManyAttempts):
        await post(slow, in_json())
    assert house.counted("jamf", "minted") == 2
    assert house.counted("jamf", "ceiling_reached") == 1


async def test_secrets_are_not_in_the_audit(house: HouseUnderTest) -> None:
    jamf = made(house)
    challenge = (await post(jamf, in_json(device=DEVICE))).body.decode()
    await post(jamf, in_json(), headers=basic(jamf.shown["username"], "wrong-guess"))
    recorded = "".join(row.body for row in house.ledger.events())
    assert '"challenge.login_refused"' in recorded
    for secret in (challenge, jamf.shown["password"], "wrong-guess"):
        assert secret not in recorded


# --- the shared header, and settings


async def test_shared_header_instead_of_a_login(house: HouseUnderTest) -> None:
    jamf = made(house, auth="header", header_name="X-Our-Webhook")
    assert list(jamf.shown) == ["header_name", "header_value"]
    name, value = jamf.shown["header_name"].lower(), jamf.shown["header_value"]
    assert name == "x-our-webhook"
    assert (await post(jamf, in_json(), headers={name: value})).status == 200
    for wrong in (
        {},
        {name: ""},
        {name: value + "x"},
        {name: f"{value}, {value}"},
        {name: value * 100},
        {"x-scep-webhook-key": value},
        basic(jamf.shown["header_name"], value),
    ):
        assert (await post(jamf, in_json(), headers=wrong)).status == 401
    assert house.counted("jamf", "login_refused") == 3, "one absent, empty or of absurd length is no guess"
    assert await jamf.unspent() == 1
    (event,) = jamf.audited("challenge.minted")
    assert event["detail"]["requester"].startswith("header X-Our-Webhook (")


async def test_login_and_header_are_both_valid_while_jamf_is_changed_over(house: HouseUnderTest) -> None:
    settings, login = PLUGIN.create("corp", {}, house.keys)
    settings, header = PLUGIN.rotate("corp", settings, {"auth": "header"}, house.keys)
    assert header["header_name"] == "X-SCEP-Webhook-Key"
    by_header = {"x-scep-webhook-key": header["header_value"]}
    jamf = Minting(house, "jamf", settings, login)
    assert (await post(jamf, in_json())).status == 200
    assert (await post(jamf, in_json(), headers=by_header)).status == 200
    settings, _ = PLUGIN.rotate("corp", settings, {"drop_old": "yes"}, house.keys)
    after = Minting(house, "jamf", settings, login)
    assert (await post(after, in_json())).status == 401
    assert (await post(after, in_json(), headers=by_header)).status == 401


def test_login_is_shown_once_and_kept_as_a_mac() -> None:
    settings, shown = PLUGIN.create("corp", {}, KEYS)
    assert list(shown) == ["username", "password"]
    assert len(shown["password"]) == 32
    assert shown["password"] not in json.dumps(settings)
    assert PLUGIN.shown("corp", settings, KEYS) == {"username": shown["username"]}
    assert PLUGIN.shown("corp", PLUGIN.create("corp", {"auth": "header"}, KEYS)[0], KEYS) == {
        "header_name": "X-SCEP-Webhook-Key"
    }
    assert plugins.addresses("jamf", "corp") == {"webhook_url": "/webhooks/jamf/corp"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"secret": "chosen"}, "no setting secret"),
        ({"auth": "none"}, "basic or header"),
        ({"auth": ""}, "basic or header"),
        ({"header_name": "Authorization"}, "header_name"),
        ({"header_name": "X-Forwarded-For"}, "header_name"),
        *(
            ({"header_name": taken}, "header_name")
            for taken in ("X-Forwarded-Host", "X-Real-IP", "Via", "Expect", "content-encoding", "Sec-Fetch-Site")
        ),
        ({"header_name": "X Key"}, "header_name"),
        ({"header_name": "X-Key\r\nSet-Cookie"}, "header_name"),
        ({"header_name": ""}, "header_name"),
        ({"bind_device": "yes"}, "on or off"),
        ({"lifetime_minutes": "0"}, "1 to 10080"),
    ],
)
def test_setting_that_cannot_be_is_refused(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        PLUGIN.create("corp", options, KEYS)


def test_settings_change_alone_and_what_jamf_shows_does_not() -> None:
    settings, _ = PLUGIN.create("corp", {}, KEYS)
    changed, shown = PLUGIN.rotate("corp", settings, {"keep_secret": "yes", "bind_device": "off"}, KEYS)
    assert shown == {}
    assert changed == {"credentials": settings["credentials"], "written": {"bind_device": "off"}}
    for fixed in ({"auth": "header"}, {"username": "x"}, {"header_name": "X-Key"}):
        with pytest.raises(ConfigurationError, match="rotate-secret"):
            PLUGIN.rotate("corp", settings, {"keep_secret": "yes", **fixed}, KEYS)


def test_settings_without_credentials_let_nobody_in(house: HouseUnderTest) -> None:
    with pytest.raises(ConfigurationError, match="rotate-secret"):
        house.load("jamf", {"credentials": [], "written": {}})


async def test_check_tells_credentials_address_and_room(house: HouseUnderTest) -> None:
    findings = await made(house).live().check()
    assert [(one.step, one.passed) for one in findings] == [
        ("credentials", True),
        ("address", True),
        ("unspent challenges", True),
    ]
