"""Jamf Pro: the SCEP payload of a computer configuration profile, and the webhook where there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from scep_server.assembly.forms.facts import KEY_BITS, RETRIES, RETRY_DELAY, Facts, Form, FormField

REDISTRIBUTE_DAYS: Final = 30


def static(facts: Facts) -> Sequence[Form]:
    """One secret for all devices."""
    secret = facts.secret("challenge")
    return _profile(
        facts,
        FormField("Challenge Type", "Static"),
        FormField("Challenge", secret),
        FormField("Verify Challenge", secret),
    )


def dynamic(facts: Facts) -> Sequence[Form]:
    """Jamf Pro fetches a challenge for each device from the page that NDES would have."""
    password = facts.secret("password")
    return _profile(
        facts,
        FormField("Challenge Type", "Dynamic-Microsoft CA"),
        FormField("URL To SCEP Admin", facts.address("challenge_url")),
        FormField("Username", facts.secret("username")),
        FormField("Password", password),
        FormField("Verify Password", password),
    )


def webhook(facts: Facts) -> Sequence[Form]:
    """Jamf Pro asks its webhook SCEPChallenge for a challenge, and says for which device."""
    hook = Form(
        "Settings > Global > Webhooks > New",
        (
            FormField("Display Name", f"SCEP challenge {facts.integration.name}"),
            FormField("Enabled", "on"),
            FormField("Webhook URL", facts.address("webhook_url")),
            *_webhook_login(facts),
            FormField("Content Type", "JSON", "XML is understood too"),
            FormField("Webhook Event", "SCEPChallenge"),
        ),
    )
    return (hook, *_profile(facts, FormField("Challenge Type", "Dynamic", "Jamf Pro then asks the webhook")))


def _webhook_login(facts: Facts) -> tuple[FormField, ...]:
    """As the plugin's setting `auth` has it: it shows the name of a header, or of a user."""
    if header := facts.secrets.get("header_name"):
        pair = json.dumps({header: facts.secret("header_value")})
        return (
            FormField("Authentication Type", "Header Authentication"),
            FormField("Header Authentication", pair, "JSON"),
        )
    password = facts.secret("password")
    return (
        FormField("Authentication Type", "Basic Authentication"),
        FormField("Username", facts.secret("username")),
        FormField("Password", password),
        FormField("Verify Password", password),
    )


def _profile(facts: Facts, *challenge: FormField) -> Sequence[Form]:
    way = "Computers > Configuration Profiles > New > Options >"
    return (
        Form(
            f"{way} General",
            (FormField("Level", "User Level", "the key goes to the login keychain, where the user's apps find it"),),
        ),
        Form(f"{way} Certificate", _certificates(facts)),
        Form(
            f"{way} SCEP",
            (
                FormField("URL", facts.scep_url),
                FormField("Name", facts.integration.name),
                FormField("Redistribute Profile", f"{_redistribute(facts)} days", "before the end; the only renewal"),
                FormField("Subject", "CN=managementAttestation $UDID", "any name with $UDID, Jamf Pro's variable"),
                FormField("Subject Alternative Name Type", "None"),
                FormField("Retries", str(RETRIES), facts.pending_note),
                FormField("Retry Delay", str(RETRY_DELAY), "seconds"),
                *challenge,
                FormField("Key Size", str(KEY_BITS)),
                FormField("Use as digital signature", "on"),
                FormField("Use for key encipherment", "off"),
                FormField("Fingerprint", facts.fingerprint.hex().upper(), "SHA-1"),
                FormField("Allow export from keychain", "off"),
                FormField("Allow all apps access", "on"),
            ),
        ),
    )


def _certificates(facts: Facts) -> tuple[FormField, ...]:
    """SCEP itself installs no CA certificate on Apple devices."""
    root = FormField("Certificate", str(facts.root_file), "upload; the root")
    if len(facts.certificates.chain) == 1:
        return (root,)
    return (root, FormField("Certificate", str(facts.issuing_file), "upload as a second payload; the issuing CA"))


def _redistribute(facts: Facts) -> int:
    """Days before the end: a month, or a third of a short life."""
    return min(REDISTRIBUTE_DAYS, max(1, facts.integration.options.lifetime_days // 3))
