"""`integration show --for`: an MDM's form on the terminal, as JSON, and as a profile file."""

from __future__ import annotations

import hashlib
import plistlib
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.assembly.forms import Mdm
from scep_server.cli.mdm_form import Choice
from tests.cli import program
from tests.cli.program import Quickstart, json_lines, succeed
from tests.house.tree import ROOT


@pytest.fixture(scope="module")
def added(site: Quickstart) -> dict[str, dict[str, Any]]:
    """An integration of each kind with a form, as --json told it."""
    records = {}
    for kind in ("static", "dynamic", "jamf"):
        (record,) = json_lines(
            succeed("integration", "add", f"form-{kind}", "--challenge", kind, "--data", site.data, "--json")
        )
        records[kind] = record
    return records


def shown(site: Quickstart, name: str, mdm: str, *more: object) -> str:
    return succeed("integration", "show", name, "--for", mdm, *more, "--data", site.data)


def fields(site: Quickstart, name: str, mdm: str, *more: object) -> dict[str, str]:
    """Every field of the forms, the later one of a name."""
    (record,) = json_lines(shown(site, name, mdm, "--json", *more))
    assert (record["integration"], record["for"]) == (name, mdm)
    return {one["field"]: one["value"] for form in record["forms"] for one in form["fields"]}


def root_of(site: Quickstart) -> bytes:
    return x509.load_pem_x509_certificate((site.data / "ca" / "root.pem").read_bytes()).public_bytes(Encoding.DER)


def test_the_choices_of_for_are_the_mdms_there_are() -> None:
    assert [str(one) for one in Choice] == [str(one) for one in Mdm]


def test_a_new_integration_leads_to_its_forms(site: Quickstart) -> None:
    add = ("integration", "add", "leads", "--challenge", "dynamic", "--data", site.data)
    leading = f"`scep-server integration show leads --data {site.data} --for jamf` (or workspace-one, apple)."
    assert leading in succeed(*add)


@pytest.mark.parametrize("mdm", ["jamf", "workspace-one", "apple"])
def test_a_static_secret_is_shown_only_when_asked_for(
    site: Quickstart, added: dict[str, dict[str, Any]], mdm: str
) -> None:
    secret = added["static"]["challenge"]
    assert secret not in shown(site, "form-static", mdm)
    assert secret in shown(site, "form-static", mdm, "--reveal")


def test_a_form_is_laid_out_field_by_field(site: Quickstart, added: dict[str, dict[str, Any]]) -> None:
    lines = shown(site, "form-static", "jamf").splitlines()
    assert "Computers > Configuration Profiles > New > Options > SCEP" in lines
    start = lines.index("Computers > Configuration Profiles > New > Options > SCEP")
    assert lines[start + 1].split() == ["URL", added["static"]["scep_url"]]
    assert any(line.split("  ")[1:2] == ["Challenge"] and line.endswith("<shown with --reveal>") for line in lines)


def test_the_forms_carry_the_values_of_this_site(site: Quickstart, added: dict[str, dict[str, Any]]) -> None:
    jamf = fields(site, "form-dynamic", "jamf")
    assert jamf["URL To SCEP Admin"] == added["dynamic"]["challenge_url"]
    assert jamf["Username"] == added["dynamic"]["username"]
    assert jamf["Fingerprint"] == hashlib.sha1(root_of(site)).hexdigest().upper()
    assert fields(site, "form-dynamic", "workspace-one")["SCEP Challenge URL"] == added["dynamic"]["challenge_url"]
    assert fields(site, "form-jamf", "jamf")["Webhook URL"] == added["jamf"]["webhook_url"]


def test_what_is_kept_as_a_mac_is_not_pretended_to_be_there(site: Quickstart, added: dict[str, dict[str, Any]]) -> None:
    revealed = shown(site, "form-dynamic", "jamf", "--reveal")
    assert added["dynamic"]["password"] not in revealed
    assert "`scep-server integration rotate-secret` makes a new one" in revealed


@pytest.mark.parametrize(
    ("name", "mdm", "more", "code", "says"),
    [
        ("form-static", "intune", (), 1, "add an integration with --challenge intune"),
        ("form-jamf", "workspace-one", (), 1, "--challenge static or --challenge dynamic"),
        ("form-jamf", "apple", (), 1, "--for jamf"),
        ("form-dynamic", "apple", ("--reveal",), 1, "challenge mint form-dynamic"),
        ("form-static", "apple", ("--json",), 2, "leave out --json"),
        ("form-none", "jamf", (), 1, "there is no integration"),
    ],
)
@pytest.mark.usefixtures("added")
def test_what_does_not_fit_prints_nothing_and_says_what_does(
    site: Quickstart, name: str, mdm: str, more: tuple[str, ...], code: int, says: str
) -> None:
    done = program.call("integration", "show", name, "--for", mdm, *more, "--data", site.data)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


@pytest.mark.usefixtures("added")
def test_an_address_without_tls_is_warned_of_where_an_mdm_needs_it(site: Quickstart) -> None:
    for mdm, warned in (("jamf", True), ("workspace-one", True), ("apple", False)):
        done = program.call("integration", "show", "form-dynamic", "--for", mdm, "--data", site.data)
        assert ("warning: public_url is http://" in done.stderr) is warned
        assert (f"section [server] of {site.data}/scep-server.toml" in done.stderr) is warned
    https = {"SCEP_SERVER_SERVER__PUBLIC_URL": "https://ca.example.org"}
    done = program.call("integration", "show", "form-dynamic", "--for", "jamf", "--data", site.data, **https)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_mdm_that_nobody_knows_is_a_wrong_command_line(site: Quickstart) -> None:
    done = program.call("integration", "show", "default", "--for", "notes", "--data", site.data)
    assert (done.returncode, done.stdout) == (2, "")


def test_the_profile_alone_is_on_standard_output(site: Quickstart, added: dict[str, dict[str, Any]]) -> None:
    done = program.call("integration", "show", "form-dynamic", "--for", "apple", "--data", site.data)
    profile = plistlib.loads(done.stdout.encode())
    root, issuing, scep = profile["PayloadContent"]
    assert (root["PayloadContent"], issuing["PayloadType"]) == (root_of(site), "com.apple.security.pkcs1")
    assert scep["PayloadContent"]["URL"] == added["dynamic"]["scep_url"]
    assert scep["PayloadContent"]["CAFingerprint"] == hashlib.sha1(root_of(site)).digest()
    mint = f"scep-server challenge mint form-dynamic --data {site.data}"
    assert done.stderr.splitlines() == [
        "replace DEVICE-ID by your MDM's variable for the device, such as $UDID in Jamf Pro",
        f"replace CHALLENGE by the challenge, another one for each device: `{mint}`",
    ]


def test_a_profile_whose_challenge_we_do_not_make_names_no_command_that_would(site: Quickstart) -> None:
    hook = ("--challenge", "webhook", "--setting", "url=https://hook.example/")
    succeed("integration", "add", "form-hook", *hook, "--data", site.data)
    done = program.call("integration", "show", "form-hook", "--for", "apple", "--data", site.data)
    assert program.call("challenge", "mint", "form-hook", "--data", site.data).returncode == 1
    assert done.returncode == 0
    assert done.stderr.splitlines()[1] == "replace CHALLENGE by the challenge, the one the device is to present"


def test_the_page_says_whose_fingerprint_the_form_shows(site: Quickstart, tmp_path: Path) -> None:
    """The root's; that of the one certificate which GetCACert gives where it gives one."""
    page = (ROOT / "docs" / "jamf-pro.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^\| Fingerprint \| (.*) \|$", page, re.MULTILINE)
    assert "SHA-1 of the root" in told
    assert "with `ca_certs=single` of the RA" in told
    assert "with `--scep-identity ca` of the issuing CA" in told

    add = ("integration", "add", "form-single", "--challenge", "static", "--option", "ca_certs=single")
    succeed(*add, "--data", site.data)
    assert fields(site, "form-single", "jamf")["Fingerprint"] == sha1_of(site.data / "ca" / "ra.pem")

    made = Quickstart(tmp_path / "data", {})
    succeed("init", "--data", made.data, "--key-type", "rsa2048", "--scep-identity", "ca")
    for name, option in (("chain", "ca_certs=chain"), ("single", "ca_certs=single")):
        succeed("integration", "add", name, "--challenge", "static", "--option", option, "--data", made.data)
        assert fields(made, name, "jamf")["Fingerprint"] == sha1_of(made.data / "ca" / "issuing.pem")


def sha1_of(file: Path) -> str:
    certificate = x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)
    return hashlib.sha1(certificate).hexdigest().upper()
