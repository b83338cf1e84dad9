"""From an MDM's request over HTTP to the certificate: what page and webhook give out opens the door once."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cli import program
from tests.cli.program import Quickstart, json_lines, succeed
from tests.simulators import ndes_consumers

SERIAL = "C02XY12345"
EVENTS = {
    "application/json": json.dumps(
        {
            "webhook": {"webhookEvent": "SCEPChallenge", "id": 1, "eventTimestamp": 1757435578123, "name": ""},
            "event": {"payloadTypes": ["com.apple.security.scep"], "device": {"serialNumber": SERIAL}},
        }
    ),
    "text/xml": f"""<?xml version="1.0" encoding="UTF-8"?>
        <JSSEvent><webhook><id>1</id><webhookEvent>SCEPChallenge</webhookEvent></webhook>
        <event><targetDevice><serialNumber>{SERIAL}</serialNumber></targetDevice></event></JSSEvent>""".strip(),
}


def added(site: Quickstart, name: str, challenge: str, *more: object) -> dict[str, Any]:
    (record,) = json_lines(
        succeed("integration", "add", name, "--challenge", challenge, *more, "--json", "--data", site.data)
    )
    site.until_served(name)
    return record


def login(record: Mapping[str, Any]) -> dict[str, str]:
    encoded = base64.b64encode(f"{record['username']}:{record['password']}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def asked(url: str, headers: Mapping[str, str], body: bytes | None = None) -> tuple[int, Mapping[str, str], bytes]:
    request = urllib.request.Request(url, data=body, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def enrolled(record: Mapping[str, Any], out: Path, subject: str, challenge: str) -> int:
    """How `client enroll` ends: 0 with a certificate, 3 refused."""
    enroll = ("client", "enroll", "--url", record["scep_url"], "--key-type", "p256", "--subject", subject)
    return program.call(*enroll, "--out", out, SCEP_CHALLENGE=challenge).returncode


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16le"])
def test_a_challenge_from_the_page_makes_one_certificate(site: Quickstart, tmp_path: Path, encoding: str) -> None:
    dynamic = added(site, f"page-{encoding}", "dynamic", "--setting", f"encoding={encoding}")
    status, headers, body = asked(dynamic["challenge_url"], login(dynamic))
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    challenge = ndes_consumers.fleet(body, headers["Content-Type"])
    assert challenge is not None
    issuing = x509.load_pem_x509_certificate((site.data / "ca/issuing.pem").read_bytes()).public_bytes(Encoding.DER)
    digits = hashlib.md5(issuing).hexdigest().upper()
    groups = " ".join(digits[start : start + 8] for start in (0, 8, 16, 24))
    assert f"<B> {groups} </B>" in body.decode("utf-16-le" if encoding == "utf-16le" else "ascii")
    assert enrolled(dynamic, tmp_path / "first", "CN=first", challenge) == 0
    assert enrolled(dynamic, tmp_path / "second", "CN=second", challenge) == 3


@pytest.mark.parametrize("probe", ["", "NTLM TlRMTVNTUAABAAAAB4IIogAAAAA=", "Negotiate YIIZAgYGKwYBBQUC"])
def test_a_probe_is_told_to_log_in_and_mints_nothing(site: Quickstart, probe: str) -> None:
    dynamic = added(site, f"probed-{probe[:4] or 'nobody'}", "dynamic")
    for url in (dynamic["challenge_url"], dynamic["challenge_url"].removesuffix("/")):
        status, headers, body = asked(url, {"Authorization": probe} if probe else {})
        assert (status, headers["WWW-Authenticate"].startswith("Basic realm=")) == (401, True)
        assert b"<B>" not in body
    tried = succeed("integration", "test", dynamic["integration"], "--data", site.data)
    assert "0, ceiling off" in tried


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("auth", ["basic", "header"])
def test_a_challenge_from_the_webhook_admits_the_device_of_the_event(
    site: Quickstart, tmp_path: Path, kind: str, auth: str
) -> None:
    jamf = added(site, f"hook-{auth}-{kind[-4:].strip('/')}", "jamf", "--setting", f"auth={auth}")
    shown = login(jamf) if auth == "basic" else {jamf["header_name"]: jamf["header_value"]}
    event = EVENTS[kind].encode()
    assert asked(jamf["webhook_url"], {"Content-Type": kind}, event)[0] == 401
    status, headers, body = asked(jamf["webhook_url"], {**shown, "Content-Type": kind}, event)
    assert (status, headers["Content-Type"]) == (200, "text/plain")
    challenge = body.decode()
    assert enrolled(jamf, tmp_path / "other", "CN=managementAttestation C02XY12346", challenge) == 3
    assert enrolled(jamf, tmp_path / "named", f"CN=managementAttestation {SERIAL}", challenge) == 0
    assert enrolled(jamf, tmp_path / "again", f"CN=once more {SERIAL}", challenge) == 3
