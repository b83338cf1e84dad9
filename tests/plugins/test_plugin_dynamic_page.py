"""The challenge page: the bytes of NDES, read by every consumer that is known, and nothing minted for strangers."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta

import pytest

from challenge_plugins.dynamic import PLUGIN
from scep_server.errors import TooManyAttempts
from scep_server.types import HttpAnswer, MintOrder, Source
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.one_time_requests import PAGE, Minting, basic
from tests.simulators import ndes_consumers


def made(house: HouseUnderTest, name: str = "corp", **options: str) -> Minting:
    settings, shown = PLUGIN.create(name, options, house.keys)
    return Minting(house, "dynamic", settings, shown, name)


@pytest.fixture
def dynamic(house: HouseUnderTest) -> Minting:
    return made(house)


def challenge_in(page: str) -> str:
    found = re.search(r"The enrollment challenge password is: <B> (\S*) </B>", page)
    assert found is not None, page
    return found[1]


# --- the bytes


async def test_page_is_that_of_ndes_byte_for_byte(dynamic: Minting) -> None:
    answer = await dynamic.ask(PAGE)
    page = answer.body.decode("ascii")
    challenge = challenge_in(page)
    md5 = hashlib.md5(dynamic.house.house.issuer()[0].der).hexdigest().upper()
    groups = f"{md5[:8]} {md5[8:16]} {md5[16:24]} {md5[24:]}"
    assert page == (
        '<HTML><Head><Meta HTTP-Equiv="Content-Type" Content="text/html; charset=UTF-8">'
        "<Title>Network Device Enrollment Service</Title></Head><Body>"
        "<P> To complete certificate enrollment for your network device you will need the following information: "
        f"<P> The thumbprint (hash value) for the CA certificate is: <B> {groups} </B> "
        f"<P> The enrollment challenge password is: <B> {challenge} </B> "
        "<P> This password can be used only once and will expire within 60 minutes. "
        "<P> Each enrollment requires a new challenge password. "
        "You can refresh this web page to obtain a new challenge password. </P></Body></HTML>"
    )
    assert re.fullmatch(r"[0-9A-F]{32}", challenge)
    assert (answer.status, answer.content_type) == (200, "text/html; charset=utf-8")


async def test_each_request_mints_another_challenge_with_and_without_slash(dynamic: Minting) -> None:
    pages = [(await dynamic.ask(PAGE, below=below)).body.decode() for below in ("", "/") * 2]
    challenges = {challenge_in(page) for page in pages}
    assert len(challenges) == 4 == await dynamic.unspent()
    for challenge in challenges:
        assert (await dynamic.live().redeem(dynamic.attempt(challenge))).uses == 1


async def test_page_tells_the_lifetime_that_holds(house: HouseUnderTest) -> None:
    dynamic = made(house, lifetime_minutes="17")
    page = (await dynamic.ask(PAGE)).body.decode()
    assert "will expire within 17 minutes." in page
    await dynamic.live().redeem(dynamic.attempt(challenge_in(page)))
    house.clock.forward(minutes=17)
    assert await dynamic.unspent() == 0


# --- every consumer that is known


def read_by(consumers: Mapping[str, ndes_consumers.Consumer], answer: HttpAnswer) -> dict[str, str | None]:
    return {name: consumer(answer.body, answer.content_type) for name, consumer in consumers.items()}


async def test_consumers_read_the_page_in_utf_8(dynamic: Minting) -> None:
    answer = await dynamic.ask(PAGE)
    challenge = challenge_in(answer.body.decode())
    found = read_by(ndes_consumers.ALL, answer)
    assert {name for name, read in found.items() if read == challenge} == ndes_consumers.READ_UTF_8
    assert {found[name] for name in ndes_consumers.ALL.keys() - ndes_consumers.READ_UTF_8} == {None}


async def test_consumers_read_the_page_as_windows_sends_it(house: HouseUnderTest) -> None:
    answer = await made(house, encoding="utf-16le").ask(PAGE)
    assert answer.content_type == "text/html"
    assert answer.body.startswith(b"<\x00H\x00")
    challenge = challenge_in(answer.body.decode("utf-16-le"))
    found = read_by(ndes_consumers.ALL, answer)
    assert {name for name, read in found.items() if read == challenge} == ndes_consumers.READ_UTF_16
    assert {found[name] for name in ndes_consumers.ALL.keys() - ndes_consumers.READ_UTF_16} == {None}


def test_every_consumer_reads_one_of_the_encodings() -> None:
    assert ndes_consumers.ALL.keys() == ndes_consumers.READ_UTF_8 | ndes_consumers.READ_UTF_16


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16le"])
async def test_consumers_take_no_challenge_from_an_error_page(house: HouseUnderTest, encoding: str) -> None:
    denied = await made(house, "denied", encoding=encoding).ask(PAGE, enabled=False)
    small = made(house, "small", encoding=encoding, ceiling="1")
    await small.ask(PAGE)
    full = await small.ask(PAGE)
    for answer in (denied, full):
        assert set(read_by(ndes_consumers.ALL, answer).values()) == {None}
    assert ndes_consumers.manageengine_full(full.body)
    assert not ndes_consumers.manageengine_full(denied.body)
    assert ndes_consumers.python_tool_full(full.body) == (encoding == "utf-16le")
    assert not ndes_consumers.python_tool_full(denied.body)


# --- the two error pages


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16le"])
async def test_right_login_on_a_disabled_integration_has_no_permission(house: HouseUnderTest, encoding: str) -> None:
    dynamic = made(house, encoding=encoding)
    answer = await dynamic.ask(PAGE, enabled=False)
    assert answer.status == 200
    page = answer.body.decode("utf-16-le" if encoding == "utf-16le" else "utf-8")
    assert " You do not have sufficient permission to enroll with SCEP.  Please contact your system admin" in page
    assert ndes_consumers.fleet_error(answer.body, answer.content_type) == (
        "You do not have sufficient permission to enroll with SCEP."
    )
    assert await dynamic.unspent() == 0
    assert (await dynamic.ask(PAGE, headers={}, enabled=False)).status == 401


async def test_cache_is_full_only_when_the_configured_ceiling_is_reached(house: HouseUnderTest) -> None:
    dynamic = made(house, ceiling="2", lifetime_minutes="30")
    for _ in range(2):
        challenge_in((await dynamic.ask(PAGE)).body.decode())
    answer = await dynamic.ask(PAGE)
    assert answer.status == 200
    page = answer.body.decode()
    assert (
        " The password cache is full. <P> Network Device Enrollment Service stores unused password for later use. "
        "By default, passwords are stored for 30 minutes.<P>Use one of the existing passwords."
    ) in page
    assert ndes_consumers.fleet_error(answer.body, answer.content_type) == "The password cache is full."
    assert house.counted("dynamic", "ceiling_reached") == 1
    assert await dynamic.unspent() == 2
    house.clock.forward(minutes=30)
    challenge_in((await dynamic.ask(PAGE)).body.decode())


async def test_without_a_ceiling_the_cache_is_never_full(dynamic: Minting) -> None:
    for _ in range(12):
        challenge_in((await dynamic.ask(PAGE)).body.decode())


# --- who gets none

PROBES = {
    "anonymous": {},
    "empty": {"authorization": ""},
    "ntlm": {"authorization": "NTLM TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAKAGFKAAAADw=="},
    "negotiate": {"authorization": "Negotiate TlRMTVNTUAABAAAAl4II4gAAAAAAAAAAAAAAAAAAAAAKAGFKAAAADw=="},
    "bearer": {"authorization": "Bearer c2NlcDp4"},
    "digest": {"authorization": 'Digest username="scep", realm="x"'},
    "scheme only": {"authorization": "Basic"},
    "no base64": {"authorization": "Basic ?????"},
    "no colon": {"authorization": "Basic " + base64.b64encode(b"scep").decode()},
    "no text": {"authorization": "Basic " + base64.b64encode(b"\xff\xfe:\x00").decode()},
    "two logins": {"authorization": "Basic c2NlcDp4, Basic c2NlcDp4"},
    "huge": {"authorization": "Basic " + base64.b64encode(b"scep:" + b"x" * 5000).decode()},
}


async def test_probe_without_a_basic_login_is_asked_for_one_and_mints_nothing(dynamic: Minting) -> None:
    for probe, headers in PROBES.items():
        answer = await dynamic.ask(PAGE, headers=headers)
        assert answer.status == 401, probe
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="SCEP challenges of corp"'
    assert await dynamic.unspent() == 0
    assert dynamic.audited("challenge.login_refused") == []


async def test_scheme_is_compared_in_any_case(dynamic: Minting) -> None:
    encoded = dynamic.login["authorization"].split()[1]
    for scheme in ("Basic", "basic", "BASIC"):
        assert (await dynamic.ask(PAGE, headers={"authorization": f"{scheme} {encoded}"})).status == 200


async def test_wrong_login_is_refused_counted_and_audited_without_what_was_sent(dynamic: Minting) -> None:
    name, password = dynamic.shown["username"], dynamic.shown["password"]
    wrong = [
        basic(name, password + "x"),
        basic(name, ""),
        basic(name.upper(), password),
        basic("", password),
        basic(name, password.lower()),
    ]
    for headers in wrong:
        answer = await dynamic.ask(PAGE, headers=headers)
        assert answer.status == 401
        assert b"<B>" not in answer.body
    assert await dynamic.unspent() == 0
    assert dynamic.house.counted("dynamic", "login_refused") == len(wrong)
    recorded = dynamic.audited("challenge.login_refused")
    assert len(recorded) == len(wrong)
    assert password not in repr(recorded)
    assert {event["source"] for event in recorded} == {"192.0.2.7"}


async def test_sixth_wrong_password_waits_and_the_right_one_does_not(dynamic: Minting) -> None:
    wrong = basic(dynamic.shown["username"], "guess")
    for _ in range(5):
        assert (await dynamic.ask(PAGE, headers=wrong)).status == 401
    with pytest.raises(TooManyAttempts) as refused:
        await dynamic.ask(PAGE, headers=wrong)
    assert refused.value.retry_after > 0
    assert (await dynamic.ask(PAGE)).status == 200
    assert (await dynamic.ask(PAGE, headers=wrong, source=Source("198.51.100.1"))).status == 401


async def test_other_methods_and_what_is_below_are_refused_and_mint_nothing(dynamic: Minting) -> None:
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "get"):
        answer = await dynamic.ask(PAGE, method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")
    for below in ("/x", "//", "/../", "/%2e", "/mscep_admin/"):
        assert (await dynamic.ask(PAGE, below=below)).status == 404
    assert await dynamic.unspent() == 0


async def test_no_password_is_asked_for_or_taken_where_it_can_be_read_on_the_way(dynamic: Minting) -> None:
    for headers in (dynamic.login, {}):
        answer = await dynamic.ask(PAGE, headers=headers, confidential=False)
        assert answer.status == 403
        assert "https" in answer.body.decode()
        assert "WWW-Authenticate" not in answer.headers
    assert await dynamic.unspent() == 0


async def test_login_opens_its_own_integration_only(house: HouseUnderTest) -> None:
    ours, other = made(house, "ours"), made(house, "other")
    assert (await other.ask(PAGE, headers=ours.login)).status == 401
    challenge = challenge_in((await ours.ask(PAGE)).body.decode())
    await ours.live().redeem(ours.attempt(challenge))
    assert await other.unspent() == 0


async def test_minting_is_bounded_a_login_and_minute(house: HouseUnderTest) -> None:
    dynamic = made(house, mint_per_minute="3")
    for _ in range(3):
        assert (await dynamic.ask(PAGE)).status == 200
    with pytest.raises(TooManyAttempts):
        await dynamic.ask(PAGE)
    assert await dynamic.unspent() == 3
    house.clock.forward(minutes=1)
    assert (await dynamic.ask(PAGE)).status == 200


# --- what is told


async def test_each_page_is_audited_and_never_with_its_challenge(dynamic: Minting) -> None:
    challenge = challenge_in((await dynamic.ask(PAGE)).body.decode())
    (event,) = dynamic.audited("challenge.minted")
    detail = event["detail"]
    assert detail["count"] == 1
    assert detail["requester"].startswith(f"basic {dynamic.shown['username']} (")
    expires_at = dynamic.house.clock() + timedelta(minutes=60)
    assert detail["expires_at"] == expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert event["source"] == "192.0.2.7"
    for secret in (challenge, dynamic.shown["password"]):
        assert secret not in "".join(row.body for row in dynamic.house.ledger.events())
    assert dynamic.house.counted("dynamic", "minted") == 1


async def test_operator_mints_without_a_login(dynamic: Minting) -> None:
    minted = await dynamic.live().mint([MintOrder()] * 3, "root on ca.test")
    assert len({one.challenge for one in minted}) == 3 == await dynamic.unspent()
    assert all(re.fullmatch(r"[0-9A-F]{32}", one.challenge) for one in minted)
    (event,) = dynamic.audited("challenge.minted")
    assert (event["detail"]["count"], event["detail"]["requester"]) == (3, "root on ca.test")
    assert event["source"] == "root on ca.test"
    assert minted[0].challenge not in repr(minted)
