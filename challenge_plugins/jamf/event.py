"""Jamf Pro's `SCEPChallenge` webhook event, in JSON and in XML.

    {"webhook": {"webhookEvent": "SCEPChallenge", "id": 1, "eventTimestamp": 1757435578, "name": ""},
     "event": {"scepServerUrl": "https://...", "payloadIdentifier": "UUID", "payloadTypes": ["com.apple.security.scep"],
               "device": {"uuid": "...", "serialNumber": "..."}}}

The same members are elements below <JSSEvent> in XML. Who names the device, and how, differs between versions and
between products that send the same event, so it is read wherever one of them puts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from challenge_plugins.dynamic.json_body import read_object
from challenge_plugins.jamf.xml_body import read_xml

NAME: Final = "SCEPChallenge"
ROOT: Final = "JSSEvent"
MAX_IDENTIFIER: Final = 255
_DEVICES: Final = ("device", "targetDevice")
_IDENTIFIERS: Final = ("uuid", "udid", "serialNumber", "managementId")
"""What a profile can put into a subject and what belongs to one device only; Jamf's own record number is too short."""
_JSON: Final = frozenset({"application/json", "text/json"})
_XML: Final = frozenset({"application/xml", "text/xml"})


class NotReadable(ValueError):
    """The body is of no kind that is read here."""


@dataclass(frozen=True, slots=True)
class ScepChallengeEvent:
    """What of an event matters here."""

    device_ids: tuple[str, ...]
    """All identifiers of the device the event names; empty when it names none."""
    said: Mapping[str, str]
    """When it was sent and for which profile, so that the audit can be held against Jamf Pro's own log."""


def read_event(body: bytes, content_type: str) -> Mapping[str, Any]:
    """The event's members, by content type or else by the first character. NotReadable; ValueError when malformed."""
    kind = content_type.partition(";")[0].strip().lower()
    start = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if kind in _XML or (kind not in _JSON and start[:1] == b"<"):
        root, members = read_xml(body)
        if root != ROOT:
            raise ValueError(f"the body is XML, but no {ROOT}")
        return members
    if kind in _JSON or start[:1] == b"{":
        return read_object(start)
    raise NotReadable("the body must be JSON or XML")


def event_name(members: Mapping[str, Any]) -> str:
    """Which event it is; empty when it does not say."""
    name = _member(members, "webhook").get("webhookEvent")
    return name if isinstance(name, str) else ""


def scep_challenge(members: Mapping[str, Any]) -> ScepChallengeEvent:
    """The event read. ValueError when it names a device in a form that no device has."""
    event = _member(members, "event")
    found = [
        identifier
        for device in _DEVICES
        for name, value in _member(event, device).items()
        if name.lower() in _LOWER and (identifier := _identifier(value))
    ]
    return ScepChallengeEvent(tuple(dict.fromkeys(found)), dict(_said(members)))


def _said(members: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sent_at = event_time(_member(members, "webhook").get("eventTimestamp"))
    if sent_at is not None:
        yield "event_at", sent_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    profile = _member(members, "event").get("payloadIdentifier")
    if isinstance(profile, str) and 0 < len(profile) <= MAX_IDENTIFIER:
        yield "profile", profile


def event_time(value: Any) -> datetime | None:
    """A time in seconds or, with 13 digits, in milliseconds since 1970; None for anything else. It decides nothing."""
    text = str(value) if isinstance(value, int | str) else ""
    if not (text.isascii() and text.isdigit() and len(text) in {10, 13}):
        return None
    return datetime.fromtimestamp(int(text) / (1000 if len(text) == 13 else 1), UTC)


_LOWER: Final = frozenset(name.lower() for name in _IDENTIFIERS)


def _member(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members.get(name)
    return value if isinstance(value, dict) else {}


def _identifier(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_IDENTIFIER:
        raise ValueError("the event names a device by something that is no identifier")
    return value.strip()
