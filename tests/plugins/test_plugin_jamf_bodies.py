"""Bodies of `SCEPChallenge` events: what Jamf Pro and those who act like it send, and what nobody should."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from challenge_plugins.jamf.event import NotReadable, event_name, event_time, read_event, scep_challenge
from challenge_plugins.jamf.xml_body import read_xml

HEAD = {"webhookEvent": "SCEPChallenge", "id": 1, "eventTimestamp": 1757435578, "name": ""}
EVENT = {
    "scepServerUrl": "https://ca.test/scep/corp",
    "payloadIdentifier": "7E5A0E9C-8A33-4A11-B1A6-3A8C5D1B2C44",
    "payloadTypes": ["com.apple.security.scep"],
}
XML = """<?xml version="1.0" encoding="UTF-8"?>
<JSSEvent>
  <webhook><id>1</id><name>scep</name><webhookEvent>SCEPChallenge</webhookEvent>
    <eventTimestamp>1757435578123</eventTimestamp></webhook>
  <event><scepServerUrl>https://ca.test/scep/corp</scepServerUrl>
    <payloadTypes><payloadType>com.apple.security.scep</payloadType></payloadTypes>%s</event>
</JSSEvent>"""


def in_json(**event: object) -> bytes:
    return json.dumps({"webhook": HEAD, "event": {**EVENT, **event}}).encode()


def named(body: bytes, kind: str = "") -> tuple[str, ...]:
    members = read_event(body, kind)
    assert event_name(members) == "SCEPChallenge"
    return scep_challenge(members).device_ids


@pytest.mark.parametrize(
    ("body", "devices"),
    [
        (in_json(), ()),
        (in_json(device={"uuid": "A-1", "serialNumber": "C02XY"}), ("A-1", "C02XY")),
        (
            in_json(targetDevice={"udid": "A-1", "serialNumber": "C02XY", "managementId": "m-1"}),
            ("A-1", "C02XY", "m-1"),
        ),
        (in_json(device={"udid": "A-1"}, targetDevice={"UDID": "A-1", "SerialNumber": "C02XY"}), ("A-1", "C02XY")),
        (in_json(device={"uuid": "", "serialNumber": None, "jssID": 52, "model": "Mac"}), ()),
        (in_json(device=None), ()),
        (in_json(device="C02XY"), ()),
        (in_json(targetUser={"uuid": "A-1"}), ()),
        ((XML % "").encode(), ()),
        ((XML % "<device><uuid>A-1</uuid><serialNumber> C02XY </serialNumber></device>").encode(), ("A-1", "C02XY")),
        ((XML % "<targetDevice><udid>A-1</udid><jssID>52</jssID></targetDevice>").encode(), ("A-1",)),
        ((XML % "<device/>").encode(), ()),
    ],
)
def test_device_is_read_wherever_it_is_named(body: bytes, devices: tuple[str, ...]) -> None:
    assert named(body) == devices


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (in_json(), "application/json"),
        (in_json(), "application/json; charset=utf-8"),
        (in_json(), "APPLICATION/JSON"),
        (b"\xef\xbb\xbf" + in_json(), "application/json"),
        (b"\r\n " + in_json(), "text/plain"),
        ((XML % "").encode(), "text/xml"),
        ((XML % "").encode(), "application/xml;charset=UTF-8"),
        (b"\xef\xbb\xbf" + (XML % "").encode(), "application/xml"),
        ((XML % "").replace("UTF-8", "ISO-8859-1").encode("latin-1"), "text/xml"),
        ((XML % "").encode(), "application/octet-stream"),
    ],
)
def test_kind_is_told_by_content_type_or_else_by_the_first_character(body: bytes, kind: str) -> None:
    assert named(body, kind) == ()


@pytest.mark.parametrize(
    ("body", "kind"), [(b"", ""), (b"hello", "text/plain"), (b"a=b", "application/x-www-form-urlencoded"), (b"[]", "")]
)
def test_other_kinds_are_not_read(body: bytes, kind: str) -> None:
    with pytest.raises(NotReadable):
        read_event(body, kind)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1757435578, 1757435578),
        ("1757435578", 1757435578),
        (1757435578123, 1757435578.123),
        ("1757435578123", 1757435578.123),
        (None, None),
        ("", None),
        (0, None),
        (-1757435578, None),
        (True, None),
        (17574355781, None),
        ("175743557x", None),
        ("٣" * 10, None),
        ([1757435578], None),
        (9999999999999, 9999999999.999),
    ],
)
def test_time_is_in_seconds_or_milliseconds(value: object, seconds: float | None) -> None:
    assert event_time(value) == (None if seconds is None else datetime.fromtimestamp(seconds, UTC))


@pytest.mark.parametrize(
    "device",
    [
        {"uuid": 7},
        {"uuid": ["A-1"]},
        {"serialNumber": {"a": "b"}},
        {"udid": "x" * 256},
        {"udid": True},
    ],
)
def test_device_named_in_no_form_that_devices_have(device: object) -> None:
    with pytest.raises(ValueError, match="no identifier"):
        named(in_json(device=device))


@pytest.mark.parametrize(
    "members",
    [{}, {"webhook": None}, {"webhook": []}, {"webhook": {"webhookEvent": ["SCEPChallenge"]}}, {"webhook": {}}],
)
def test_event_without_a_name_has_none(members: dict[str, object]) -> None:
    assert event_name(members) == ""


def test_first_of_a_repeated_element_counts() -> None:
    assert named(
        (XML % "<device><udid>A-1</udid><udid>B-2</udid></device><device><udid>C-3</udid></device>").encode()
    ) == ("A-1",)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))
BOMBS = {
    "billion laughs": f'<!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]><JSSEvent>&l8;</JSSEvent>',
    "quadratic": f'<!DOCTYPE x [<!ENTITY a "{"a" * 1000}">]><JSSEvent>{"&a;" * 1000}</JSSEvent>',
    "file": '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><JSSEvent>&f;</JSSEvent>',
    "parameter entity": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]><JSSEvent/>',
    "external subset": '<!DOCTYPE JSSEvent SYSTEM "http://127.0.0.1:9/x.dtd"><JSSEvent/>',
    "bare": "<!DOCTYPE JSSEvent><JSSEvent/>",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_document_type_and_entities_are_refused(bomb: str) -> None:
    with pytest.raises(ValueError, match="document type"):
        read_xml(BOMBS[bomb].encode())


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<a>" * 17 + "</a>" * 17, "too many"),
        ("<a>" * 20000, "too many"),
        ("<a>" + "<b/>" * 1000 + "</a>", "too many"),
        ("<a>" + " " * 70000 + "</a>", "more than"),
        ("<a>", "well-formed"),
        ("<a></b>", "well-formed"),
        ("<a>&unknown;</a>", "well-formed"),
        ("<a/><b/>", "well-formed"),
        ("<a>\x00</a>", "well-formed"),
        ("", "well-formed"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "unknown encoding"),
        ('<?xml version="1.0" encoding="hex"?><a/>', "unknown encoding"),
        ('<?xml version="1.0" encoding="utf-7"?><a/>', "unknown encoding"),
    ],
)
def test_xml_that_is_none_or_too_much(body: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_xml(body.encode())


def test_xml_with_another_root_is_no_event() -> None:
    with pytest.raises(ValueError, match="JSSEvent"):
        read_event(b"<event/>", "text/xml")


def test_xml_as_deep_and_as_wide_as_allowed() -> None:
    assert read_xml(("<a>" * 16 + "</a>" * 16).encode())[0] == "a"
    assert read_xml(b"<a>" + b"<b>1</b>" * 999 + b"</a>") == ("a", {"b": "1"})
