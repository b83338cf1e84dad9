"""The commands on a serving site: what they print, what they change, how they fail."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.cli import program
from tests.cli.program import Quickstart, json_lines, succeed

CERTIFICATE_FIELDS = [
    *("serial", "state", "integration", "transaction_id", "subject", "public_key_sha256"),
    *("not_before", "not_after", "issued_at"),
]
REQUEST_FIELDS = ["id", "transaction_id", "subject", "requested_at", "source"]
TIME = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@pytest.fixture(scope="module")
def device(site: Quickstart, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A certificate that the client enrolled."""
    out = tmp_path_factory.mktemp("device") / "out"
    return out, site.enroll(out, "CN=device 1,O=Example", "--san", "dns:d1.example.org", "--key-type", "p256")


def certificates(site: Quickstart, *more: object) -> list[dict[str, Any]]:
    return json_lines(succeed("cert", "list", "--data", site.data, "--format", "jsonl", *more))


def test_the_client_leaves_a_pair_that_fits(site: Quickstart, device: tuple[Path, dict[str, Any]]) -> None:
    out, record = device
    certificate = x509.load_pem_x509_certificate((out / "cert.pem").read_bytes())
    chain = x509.load_pem_x509_certificates((out / "chain.pem").read_bytes())
    assert record["serial"] == f"{certificate.serial_number:x}"
    certificate.verify_directly_issued_by(chain[0])
    assert {path.name for path in out.iterdir()} == {"key.pem", "cert.pem", "chain.pem"}


def test_cert_list_tells_every_field(site: Quickstart, device: tuple[Path, dict[str, Any]]) -> None:
    (row,) = (one for one in certificates(site) if one["serial"] == device[1]["serial"])
    assert list(row) == CERTIFICATE_FIELDS
    assert row["state"] == "issued"
    assert row["subject"] == "CN=device 1,O=Example"
    assert row["transaction_id"].lower() == row["public_key_sha256"]
    assert all(TIME.fullmatch(row[key]) for key in ("not_before", "not_after", "issued_at"))
    table = succeed("cert", "list", "--data", site.data)
    assert device[1]["serial"] in table


def test_a_reader_who_leaves_early_gets_no_complaint(site: Quickstart, device: tuple[Path, dict[str, Any]]) -> None:
    import subprocess

    shell = f"'{program.PROGRAM}' cert list --format jsonl --data '{site.data}' | true"
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env=program.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""


def test_show_and_revoke(site: Quickstart, tmp_path: Path) -> None:
    serial = site.enroll(tmp_path / "device", "CN=lost", "--key-type", "p256")["serial"]
    shown = succeed("cert", "show", serial, "--data", site.data)
    assert "-----BEGIN CERTIFICATE-----" in shown
    (done,) = json_lines(
        succeed("cert", "revoke", serial, "--reason", "keyCompromise", "--data", site.data, "--json"),
    )
    assert (done["state"], done["revocation_reason"]) == ("revoked", "keyCompromise")
    assert serial in {row["serial"] for row in certificates(site, "--state", "revoked")}
    (again,) = json_lines(succeed("cert", "revoke", serial, "--data", site.data, "--json"))
    assert (again["revoked_at"], again["revocation_reason"]) == (done["revoked_at"], "keyCompromise")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("cert", "revoke", "1234"), 3, "knows no certificate with serial 1234"),
        (("cert", "show", "xyz"), 2, "no serial number in hex"),
        (("cert", "revoke", "12", "--reason", "bored"), 1, "keyCompromise"),
        (("request", "approve", "999"), 3, "999"),
        (("request", "show", "999"), 3, "request list"),
        (("integration", "show", "nope"), 1, "there is no integration 'nope'; there are: "),
        (("integration", "add", "x", "--challenge", "nope"), 1, "installed: dynamic, intune, jamf, static, webhook"),
        (("integration", "add", "a/b", "--challenge", "static"), 1, "cannot be an integration's name"),
        (("integration", "add", "default", "--challenge", "static"), 1, "exists"),
        (("integration", "set", "default", "--option", "renewl=on"), 1, "did you mean renewal?"),
        (("integration", "set", "default", "--option", "renewal"), 2, "KEY=VALUE"),
        (("integration", "add", "y", "--challenge", "static", "--secret", "short"), 1, "at least 12"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    site: Quickstart, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = program.call(*arguments, "--data", site.data)
    assert (done.returncode, done.stdout) == (code, "")
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert says in error
    assert "Traceback" not in done.stderr


def test_a_command_without_a_configuration_says_every_way_to_name_one() -> None:
    done = program.call("cert", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert all(way in done.stderr for way in ("--data", "--config", "SCEP_SERVER_DATA", "SCEP_SERVER_CONFIG"))


def test_a_command_that_a_message_names_finds_the_same_configuration(site: Quickstart) -> None:
    config = site.data / "scep-server.toml"
    by_data = program.call("request", "show", "999", "--data", site.data)
    assert f"`scep-server request list --data {site.data}`" in by_data.stderr
    by_config = program.call("cert", "show", "xyz", "--config", config)
    assert f"`scep-server cert list --config {config}`" in by_config.stderr


def test_an_error_ends_the_process_with_its_code(site: Quickstart) -> None:
    done = program.run("cert", "revoke", "1234", "--data", site.data)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: the ledger knows no certificate with serial 1234\n"


def test_an_integration_lives_at_once_and_is_gone_at_once(site: Quickstart, tmp_path: Path) -> None:
    """Add with manual approval, enrol to PENDING, approve, poll, renew, rotate, delete: as an operator would."""
    add = ("integration", "add", "fleet", "--challenge", "static", "--option", "approval=manual", "--json")
    (added,) = json_lines(succeed(*add, "--data", site.data))
    assert list(added) == ["integration", "scep_url", "challenge"]
    assert added["scep_url"] == site.scep_url("fleet")
    site.until_served("fleet")

    out = tmp_path / "device"
    enroll = ("client", "enroll", "--url", added["scep_url"], "--subject", "CN=waits", "--key-type", "p256")
    done = program.call(*enroll, "--out", out, SCEP_CHALLENGE=added["challenge"])
    assert done.returncode == 4, done.stderr
    assert "client poll" in done.stderr
    again = program.call(*enroll, "--out", out, SCEP_CHALLENGE=added["challenge"])
    assert (again.returncode, "not finished" in again.stderr) == (1, True)

    rows = json_lines(succeed("request", "list", "--data", site.data, "--format", "jsonl"))
    (row,) = (one for one in rows if one["subject"] == "CN=waits")
    assert list(row) == REQUEST_FIELDS
    assert TIME.fullmatch(row["requested_at"])
    (approved,) = json_lines(succeed("request", "approve", row["id"], "--data", site.data, "--json"))
    (polled,) = json_lines(succeed("client", "poll", "--out", out, "--json"))
    assert polled["serial"] == approved["serial"]
    assert not (out / "request.json").exists()
    rejected = program.call("request", "reject", str(row["id"]), "--data", site.data)
    assert rejected.returncode == 3

    rotate = ("integration", "rotate-secret", "fleet", "--data", site.data, "--json")
    (rotated,) = json_lines(succeed(*rotate))
    (shown,) = json_lines(succeed("integration", "show", "fleet", "--reveal", "--json", "--data", site.data))
    assert (shown["challenge"], shown["previous_challenge"]) == (rotated["challenge"], added["challenge"])
    assert added["challenge"] not in succeed("integration", "show", "fleet", "--data", site.data)

    succeed("integration", "delete", "fleet", "--yes", "--data", site.data)
    assert "fleet" not in succeed("integration", "list", "--data", site.data)


def test_renewal_is_offered_when_switched_on(site: Quickstart, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    site.enroll(old, "CN=renews")
    renew = ("client", "renew", "--url", site.line["scep_url"], "--from", old, "--out", new, "--json")
    done = program.call(*renew)
    assert (done.returncode, "does not offer renewal" in done.stderr) == (1, True)
    assert not (new / "key.pem").exists()
    options = ("--option", "renewal=on", "--option", "renewal_window_days=400")
    succeed("integration", "set", "default", *options, "--data", site.data)
    _until_offered(site, "Renewal")
    (record,) = json_lines(succeed(*renew))
    assert record["subject"] == "CN=renews"


def test_a_refused_enrolment_leaves_nothing_and_says_why(site: Quickstart, tmp_path: Path) -> None:
    enroll = ("client", "enroll", "--url", site.line["scep_url"], "--subject", "CN=x", "--out", tmp_path / "x")
    done = program.call(*enroll, "--challenge", "WRONG-WRONG-WRONG")
    assert done.returncode == 3
    assert "Challenge was not accepted" in done.stderr
    assert "--challenge on the command line is visible" in done.stderr
    assert "WRONG-WRONG" not in done.stderr
    assert list((tmp_path / "x").iterdir()) == []


def test_the_client_names_what_it_checked(site: Quickstart) -> None:
    look = ("client", "ca", "--url", site.line["scep_url"], "--json")
    checked = program.call(*look, "--ca-fingerprint", site.line["root_sha256"])
    assert "verified     CA fingerprint" in checked.stderr
    assert [one["role"] for one in json_lines(checked.stdout)] == ["SCEP recipient", "issuing CA", "root"]
    assert "NOT CHECKED  CA fingerprint" in program.call(*look).stderr
    wrong = program.call(*look, "--ca-fingerprint", "00" * 32)
    assert (wrong.returncode, wrong.stdout) == (1, "")


def test_audit_reconcile_and_check(site: Quickstart) -> None:
    (verdict,) = json_lines(succeed("audit", "verify", "--data", site.data, "--json"))
    assert verdict["findings"] == 0
    assert verdict["events"] > 0
    (done,) = json_lines(succeed("reconcile", "--data", site.data, "--json"))
    assert done["abandoned"] == 0
    (found,) = json_lines(succeed("check", "--data", site.data, "--json"))
    assert found["root_sha256"] == site.line["root_sha256"]


def test_explain_reads_what_enrolment_left(device: tuple[Path, dict[str, Any]]) -> None:
    assert "CN=device 1" in succeed("explain", device[0] / "cert.pem")
    done = program.call("explain", "-", stdin="nothing of the kind")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def _until_offered(site: Quickstart, keyword: str) -> None:
    for _ in range(300):
        offered = json.loads(succeed("client", "caps", "--url", site.line["scep_url"], "--json"))
        if keyword in offered["capabilities"]:
            return
    pytest.fail(f"{keyword} is not offered")
