"""quickstart: the line that scripts read, later runs, refusals, the signal's end."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import stat
import urllib.request
from pathlib import Path

from tests.cli import program
from tests.cli.program import Quickstart

KEYS = [
    *("scep_url", "challenge", "integration", "root_sha256", "root_sha1"),
    *("issuing_ca_sha256", "issuing_ca_sha1", "admin_url", "data"),
]


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return bytes(answer.read())


def test_the_line_has_exactly_the_promised_keys(site: Quickstart) -> None:
    assert list(site.line) == KEYS
    assert site.line["integration"] == "default"
    assert site.line["data"] == str(site.data)
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/scep/default", site.line["scep_url"])
    assert re.fullmatch(r"[0-9A-F]{32}", site.line["challenge"])
    assert all(re.fullmatch(r"[0-9a-f]{64}", site.line[key]) for key in KEYS if key.endswith("sha256"))


def test_it_serves_when_the_line_is_there(site: Quickstart) -> None:
    assert b"POSTPKIOperation" in fetch(site.line["scep_url"] + "?operation=GetCACaps")
    assert fetch(site.line["admin_url"] + "/healthz")


def test_the_fingerprint_is_of_the_whole_root_certificate(site: Quickstart) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    root = x509.load_pem_x509_certificate((site.data / "ca" / "root.pem").read_bytes()).public_bytes(Encoding.DER)
    assert site.line["root_sha256"] == hashlib.sha256(root).hexdigest()
    assert site.line["root_sha1"] == hashlib.sha1(root, usedforsecurity=False).hexdigest()


def test_nothing_it_made_is_open_to_others(site: Quickstart) -> None:
    secret = [path for path in site.data.rglob("*") if path.is_file() and path.suffix != ".pem"]
    secret += list(site.data.rglob("*.key.pem"))
    assert {str(path): stat.filemode(path.stat().st_mode) for path in secret if path.stat().st_mode & 0o077} == {}


def test_a_later_run_gives_the_same_line_and_a_panel_hides_the_secret(tmp_path: Path) -> None:
    data = tmp_path / "data"
    start = ("quickstart", "--data", data, "--key-type", "p256")
    addresses = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    (tmp_path / "secret").write_text("Correct Horse 42\n")
    with program.serving(*start, *addresses, "--challenge-file", tmp_path / "secret", "--json") as (line, _):
        first = json.loads(line)
    assert first["challenge"] == "Correct Horse 42"
    with program.serving(*start, "--json") as (line, _):
        assert json.loads(line) == first
    with program.serving(*start) as (_, process):
        assert process.stdout is not None
        shown = [process.stdout.readline() for _ in range(9)]
        assert "SCEP URL" in shown[0]
        assert not any(first["challenge"] in text for text in shown)


def test_the_first_panel_names_commands_that_work_as_they_stand(tmp_path: Path) -> None:
    data = tmp_path / "my data"
    addresses = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    with program.serving("quickstart", "--data", data, "--key-type", "p256", *addresses) as (line, process):
        assert process.stdout is not None
        text = line
        while "--ca-fingerprint" not in text:
            text += process.stdout.readline()
        (challenge,) = re.findall(r"Challenge +([0-9A-F]{32})", text)
        (later,) = re.findall(r"^The challenge is shown once; later with `scep-server (.*)`\.$", text, re.MULTILINE)
        assert challenge in program.succeed(*shlex.split(later))
        (enroll,) = re.findall(r"^  scep-server (client enroll .*\n.*)$", text, re.MULTILINE)
        typed = shlex.split(enroll.replace("\\\n", ""))
        done = program.run(*typed, "--out", tmp_path / "device", stdin=f"{challenge}\n")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "device" / "cert.pem").exists()


def test_a_typed_secret_is_warned_about_and_a_short_one_refused(tmp_path: Path) -> None:
    done = program.run("quickstart", "--data", tmp_path / "data", "--key-type", "p256", "--challenge", "short")
    assert done.returncode == 1
    assert "--challenge on the command line is visible" in done.stderr
    assert "at least 12" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    done = program.run("quickstart", "--data", tmp_path / "data", "--challenge", "")
    assert done.returncode == 2
    assert "empty" in done.stderr
    assert not (tmp_path / "data").exists()
