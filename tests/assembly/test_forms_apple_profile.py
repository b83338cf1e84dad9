"""The Apple profile against the schema facts: which keys there are, their types, and the values they may have."""

from __future__ import annotations

import hashlib
import plistlib
import re
from typing import Any
from uuid import UUID

import pytest

from scep_server.assembly.apple_profile import CHALLENGE_PLACEHOLDER, apple_profile
from scep_server.assembly.forms import HIDDEN
from scep_server.errors import ConfigurationError
from scep_server.types import IntegrationOptions
from tests.assembly.form_facts import BASE, certificates, facts

COMMON: dict[str, type] = {
    "PayloadType": str,
    "PayloadVersion": int,
    "PayloadIdentifier": str,
    "PayloadUUID": str,
    "PayloadDisplayName": str,
}
TOP: dict[str, type] = COMMON | {
    "PayloadContent": list,
    "PayloadDescription": str,
    "PayloadOrganization": str,
    "PayloadScope": str,
    "PayloadRemovalDisallowed": bool,
}
CERTIFICATE: dict[str, type] = COMMON | {"PayloadCertificateFileName": str, "PayloadContent": bytes}
SCEP: dict[str, type] = {
    "URL": str,
    "Name": str,
    "Subject": list,
    "Challenge": str,
    "Keysize": int,
    "Key Type": str,
    "Key Usage": int,
    "CAFingerprint": bytes,
    "Retries": int,
    "RetryDelay": int,
    "SubjectAltName": dict,
    "KeyIsExtractable": bool,
    "AllowAllAppsAccess": bool,
}
SHORTCUTS = {"C", "L", "ST", "O", "OU", "CN"}
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("unknown key KeyUsage", {"KeyUsage": 1}),
    ("unknown key AllowAllAppAccess", {"AllowAllAppAccess": True}),
    ("unknown key KeysExtractable", {"KeysExtractable": False}),
    ("type of Keysize", {"Keysize": "2048"}),
    ("type of Retries", {"Retries": True}),
    ("Keysize", {"Keysize": 3072}),
    ("Key Usage", {"Key Usage": 2}),
    ("Key Type", {"Key Type": "EC"}),
    ("CAFingerprint", {"CAFingerprint": bytes(32)}),
    ("Subject", {"Subject": [["CN", "flat"]]}),
    ("Subject", {"Subject": [[["DC", "no shortcut"]]]}),
    ("URL", {"URL": "ca.example.org"}),
]


def typed(record: dict[str, Any], allowed: dict[str, type]) -> list[str]:
    """Keys that the schema does not have, and values of another type; a boolean is no integer."""
    unknown = [f"unknown key {key}" for key in record if key not in allowed]
    return unknown + [f"type of {key}" for key, value in record.items() if type(value) is not allowed.get(key, object)]


def scep_faults(content: dict[str, Any]) -> list[str]:
    """What the schema does not permit in the dictionary of a SCEP payload."""
    if wrong := typed(content, SCEP):
        return wrong
    pairs = [pair for rdn in content["Subject"] for pair in rdn]
    checks = {
        "URL": re.match(r"https?://", content["URL"]) is not None,
        "Keysize": content["Keysize"] in {1024, 2048, 4096},
        "Key Type": content["Key Type"] == "RSA",
        "Key Usage": content["Key Usage"] in {0, 1, 4, 5},
        "CAFingerprint": len(content["CAFingerprint"]) in {16, 20},
        "Subject": all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(part, str) for part in pair)
            and (pair[0] in SHORTCUTS or re.fullmatch(r"[0-9]+(\.[0-9]+)+", pair[0]))
            for pair in pairs
        ),
    }
    return [name for name, holds in checks.items() if not holds]


def profile(**more: Any) -> dict[str, Any]:
    return dict(plistlib.loads(apple_profile(facts("static", **more), reveal=False)))


def scep_of(made: dict[str, Any]) -> dict[str, Any]:
    (payload,) = (one for one in made["PayloadContent"] if one["PayloadType"] == "com.apple.security.scep")
    return dict(payload["PayloadContent"])


def test_the_profile_and_each_payload_have_their_keys() -> None:
    made = profile()
    assert typed(made, TOP) == []
    assert (made["PayloadType"], made["PayloadVersion"], made["PayloadScope"]) == ("Configuration", 1, "User")
    *authorities, scep = made["PayloadContent"]
    assert [fault for one in authorities for fault in typed(one, CERTIFICATE)] == []
    assert typed(scep, COMMON | {"PayloadContent": dict}) == []
    assert all(key in one for one in (made, *made["PayloadContent"]) for key in COMMON)


def test_the_scep_payload_is_within_the_schema() -> None:
    assert scep_faults(scep_of(profile())) == []


@pytest.mark.parametrize(("says", "change"), FAULTS)
def test_each_rule_of_the_schema_sees_its_fault(says: str, change: dict[str, Any]) -> None:
    assert says in scep_faults(scep_of(profile()) | change)


def test_the_key_can_sign_and_cannot_leave() -> None:
    content = scep_of(profile())
    assert {key: content[key] for key in ("Keysize", "Key Type", "Key Usage")} == {
        "Keysize": 2048,
        "Key Type": "RSA",
        "Key Usage": 1,
    }
    assert (content["KeyIsExtractable"], content["AllowAllAppsAccess"]) == (False, True)
    assert (content["URL"], content["Name"]) == (f"{BASE}/scep/laptops", "laptops")


def test_the_chain_travels_along_root_first() -> None:
    authorities = profile()["PayloadContent"][:-1]
    assert [(one["PayloadType"], one["PayloadContent"]) for one in authorities] == [
        ("com.apple.security.root", certificates().root),
        ("com.apple.security.pkcs1", certificates().issuing),
    ]


def test_the_fingerprint_is_of_the_last_certificate_that_the_device_gets() -> None:
    assert scep_of(profile())["CAFingerprint"] == hashlib.sha1(certificates().root).digest()
    alone = scep_of(profile(options=IntegrationOptions(ca_certs="single")))
    assert alone["CAFingerprint"] == hashlib.sha1(certificates().ra or b"").digest()


def test_the_challenge_is_there_only_when_it_was_asked_for() -> None:
    known = facts("static", secrets={"challenge": "ABCDEF0123456789"})
    hidden = apple_profile(known, reveal=False)
    assert b"ABCDEF0123456789" not in hidden
    assert scep_of(plistlib.loads(hidden))["Challenge"] == CHALLENGE_PLACEHOLDER
    assert scep_of(plistlib.loads(apple_profile(known, reveal=True)))["Challenge"] == "ABCDEF0123456789"


@pytest.mark.parametrize("secrets", [{}, {"password": "for the challenge URL, not for devices"}, {"challenge": HIDDEN}])
def test_what_is_no_challenge_of_all_devices_is_never_revealed_as_one(secrets: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="challenge mint laptops"):
        apple_profile(facts("dynamic", secrets=secrets), reveal=True)


def test_a_profile_for_intune_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--for intune"):
        apple_profile(facts("intune"), reveal=False)


def test_identifiers_stay_so_that_a_new_profile_replaces_the_old() -> None:
    first, again = profile(), profile(options=IntegrationOptions(lifetime_days=30))
    other = dict(plistlib.loads(apple_profile(_elsewhere(), reveal=False)))
    parts = [first, *first["PayloadContent"]]
    assert [one["PayloadUUID"] for one in parts] == [one["PayloadUUID"] for one in (again, *again["PayloadContent"])]
    assert len({UUID(one["PayloadUUID"]) for one in parts}) == len(parts)
    assert len({one["PayloadIdentifier"] for one in parts}) == len(parts)
    assert first["PayloadIdentifier"] == "org.example.ca.scep.laptops.profile"
    assert not {one["PayloadUUID"] for one in parts} & {one["PayloadUUID"] for one in (other, *other["PayloadContent"])}


def _elsewhere() -> Any:
    import dataclasses

    return dataclasses.replace(facts("static"), scep_url="https://other.example.org/scep/laptops")
