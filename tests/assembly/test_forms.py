"""What is to be typed into each MDM: every field once, secrets only where they were asked for, nothing that fails."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from scep_server.assembly.forms import HIDDEN, LOST, Facts, Mdm, check_fit, fitting, forms
from scep_server.errors import ConfigurationError
from scep_server.types import IntegrationOptions
from tests.assembly.form_facts import BASE, certificates, facts

CHALLENGE_URL = f"{BASE}/scep/laptops/mscep_admin/"
WEBHOOK_URL = f"{BASE}/webhooks/jamf/laptops"
FITTING: list[tuple[Mdm, str, dict[str, Any]]] = [
    (Mdm.JAMF, "static", {}),
    (Mdm.JAMF, "dynamic", {"addresses": {"challenge_url": CHALLENGE_URL}}),
    (Mdm.JAMF, "jamf", {"addresses": {"webhook_url": WEBHOOK_URL}}),
    (Mdm.WORKSPACE_ONE, "static", {}),
    (Mdm.WORKSPACE_ONE, "dynamic", {"addresses": {"challenge_url": CHALLENGE_URL}}),
    (Mdm.INTUNE, "intune", {}),
]


def by_form(mdm: Mdm, known: Facts) -> list[dict[str, str]]:
    """Each form as field to value."""
    return [{one.name: one.value for one in form.fields} for form in forms(mdm, known)]


@pytest.mark.parametrize(("mdm", "challenge", "more"), FITTING)
def test_each_fitting_pair_has_a_form_with_the_scep_url(mdm: Mdm, challenge: str, more: dict[str, Any]) -> None:
    made = by_form(mdm, facts(challenge, **more))
    assert [value for form in made for value in form.values()].count(f"{BASE}/scep/laptops") == 1


@pytest.mark.parametrize(("mdm", "challenge", "more"), FITTING)
def test_no_form_asks_twice_under_one_name(mdm: Mdm, challenge: str, more: dict[str, Any]) -> None:
    for form in forms(mdm, facts(challenge, **more)):
        names = [one.name for one in form.fields if one.name != "Certificate"]
        assert len(names) == len(set(names)), form.where


@pytest.mark.parametrize(
    ("mdm", "challenge", "remedy"),
    [
        (Mdm.INTUNE, "static", "--challenge intune"),
        (Mdm.INTUNE, "dynamic", "--challenge intune"),
        (Mdm.JAMF, "intune", "--challenge static or --challenge dynamic or --challenge jamf"),
        (Mdm.JAMF, "webhook", "asks this server's webhook for one; add an integration with --challenge static"),
        (Mdm.WORKSPACE_ONE, "jamf", "--challenge static or --challenge dynamic"),
        (Mdm.APPLE, "intune", "--for intune"),
        (Mdm.APPLE, "jamf", "--for jamf"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(mdm: Mdm, challenge: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        check_fit(mdm, facts(challenge).integration)


@pytest.mark.parametrize("challenge", ["static", "dynamic", "webhook", "somebody-elses"])
def test_a_profile_file_fits_whatever_the_device_itself_can_present(challenge: str) -> None:
    check_fit(Mdm.APPLE, facts(challenge).integration)


@pytest.mark.parametrize(
    ("challenge", "mdms"),
    [
        ("static", [Mdm.JAMF, Mdm.WORKSPACE_ONE, Mdm.APPLE]),
        ("jamf", [Mdm.JAMF]),
        ("intune", [Mdm.INTUNE]),
        ("webhook", [Mdm.APPLE]),
    ],
)
def test_the_fitting_mdms_of_a_challenge(challenge: str, mdms: list[Mdm]) -> None:
    assert list(fitting(facts(challenge).integration)) == mdms


def test_jamf_static_in_the_order_of_its_form() -> None:
    general, certificate, scep = forms(Mdm.JAMF, facts("static", secrets={"challenge": "ABC"}))
    assert {one.name: one.value for one in general.fields} == {"Level": "User Level"}
    assert [one.value for one in certificate.fields] == ["/data/ca/root.pem", "/data/ca/issuing.pem"]
    assert [(one.name, one.value) for one in scep.fields] == [
        ("URL", f"{BASE}/scep/laptops"),
        ("Name", "laptops"),
        ("Redistribute Profile", "30 days"),
        ("Subject", "CN=managementAttestation $UDID"),
        ("Subject Alternative Name Type", "None"),
        ("Retries", "3"),
        ("Retry Delay", "10"),
        ("Challenge Type", "Static"),
        ("Challenge", "ABC"),
        ("Verify Challenge", "ABC"),
        ("Key Size", "2048"),
        ("Use as digital signature", "on"),
        ("Use for key encipherment", "off"),
        ("Fingerprint", hashlib.sha1(certificates().root).hexdigest().upper()),
        ("Allow export from keychain", "off"),
        ("Allow all apps access", "on"),
    ]


def test_jamf_dynamic_takes_the_challenge_url() -> None:
    known = facts("dynamic", addresses={"challenge_url": CHALLENGE_URL}, secrets={"username": "u", "password": "p"})
    scep = by_form(Mdm.JAMF, known)[-1]
    assert scep["Challenge Type"] == "Dynamic-Microsoft CA"
    wanted = {"URL To SCEP Admin": CHALLENGE_URL, "Username": "u", "Password": "p", "Verify Password": "p"}
    assert {name: scep[name] for name in wanted} == wanted
    assert "Challenge" not in scep


def test_jamf_webhook_comes_before_the_profile_that_needs_it() -> None:
    known = facts("jamf", addresses={"webhook_url": WEBHOOK_URL}, secrets={"username": "u", "password": "p"})
    hook, *_, scep = by_form(Mdm.JAMF, known)
    assert (hook["Webhook URL"], hook["Webhook Event"]) == (WEBHOOK_URL, "SCEPChallenge")
    assert scep["Challenge Type"] == "Dynamic"


def test_jamf_webhook_with_a_shared_header_instead_of_a_login() -> None:
    known = facts("jamf", addresses={"webhook_url": WEBHOOK_URL}, secrets={"header_name": "X-Key"})
    hook = by_form(Mdm.JAMF, known)[0]
    assert hook["Authentication Type"] == "Header Authentication"
    assert json.loads(hook["Header Authentication"]) == {"X-Key": LOST}
    assert "Username" not in hook


def test_workspace_one_static_and_dynamic_are_two_kinds_of_authority() -> None:
    static = by_form(Mdm.WORKSPACE_ONE, facts("static", secrets={"challenge": "ABC"}))[0]
    assert (static["Authority Type"], static["Static Challenge"]) == ("Generic SCEP", "ABC")
    dynamic = by_form(Mdm.WORKSPACE_ONE, facts("dynamic", addresses={"challenge_url": CHALLENGE_URL}))[0]
    assert (dynamic["Authority Type"], dynamic["Version"]) == ("Microsoft ADCS", "NDES 2008/2012")
    assert (dynamic["SCEP Challenge URL"], dynamic["SCEP Challenge Length"]) == (CHALLENGE_URL, "32")


def test_intune_windows_gets_the_issuing_ca_and_others_the_root() -> None:
    windows, root, scep = by_form(Mdm.INTUNE, facts("intune"))
    assert (windows["Certificate file"], root["Certificate file"]) == ("/data/ca/issuing.pem", "/data/ca/root.pem")
    assert (scep["Key usage"], scep["Key size (bits)"]) == ("Digital signature", "2048")


def test_a_secret_that_is_kept_is_hidden_and_one_that_is_not_is_lost() -> None:
    assert by_form(Mdm.JAMF, facts("static", secrets={"challenge": HIDDEN}))[-1]["Challenge"] == HIDDEN
    known = facts("dynamic", addresses={"challenge_url": CHALLENGE_URL})
    assert by_form(Mdm.JAMF, known)[-1]["Password"] == LOST


def test_a_plugin_without_its_address_is_told_and_not_guessed() -> None:
    with pytest.raises(ConfigurationError, match="has no challenge_url"):
        forms(Mdm.WORKSPACE_ONE, facts("dynamic"))


@pytest.mark.parametrize(("lifetime", "days"), [(365, "30 days"), (30, "10 days"), (1, "1 days")])
def test_the_profile_is_redistributed_before_the_end(lifetime: int, days: str) -> None:
    known = facts("static", options=IntegrationOptions(lifetime_days=lifetime))
    assert by_form(Mdm.JAMF, known)[-1]["Redistribute Profile"] == days


def test_manual_approval_is_noted_where_retries_are_asked_for() -> None:
    notes = {
        approval: [
            one.note
            for form in forms(Mdm.JAMF, facts("static", options=IntegrationOptions(approval=approval)))
            for one in form.fields
            if one.name == "Retries"
        ]
        for approval in ("auto", "manual")
    }
    assert notes["auto"] == [""]
    assert "request approve" in notes["manual"][0]


def test_no_form_shows_its_values_by_accident() -> None:
    known = facts("static", secrets={"challenge": "SECRET-SECRET"})
    assert "SECRET-SECRET" not in repr(known) + repr(forms(Mdm.JAMF, known))
