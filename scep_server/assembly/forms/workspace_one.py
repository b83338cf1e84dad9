"""Workspace ONE UEM: certificate authority, request template, and two Windows profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scep_server.assembly.forms.facts import KEY_BITS, Facts, Form, FormField

CHALLENGE_LENGTH: Final = 32
"""Characters of each challenge that is minted."""


def static(facts: Facts) -> Sequence[Form]:
    """One secret for all devices, through the generic connector."""
    secret = facts.secret("challenge")
    return _connection(
        facts,
        FormField("Authority Type", "Generic SCEP"),
        FormField("SCEP Provider", "Basic", "fixed"),
        FormField("SCEP URL", facts.scep_url),
        FormField("Challenge Type", "STATIC"),
        FormField("Static Challenge", secret),
        FormField("Confirm Challenge Phrase", secret),
    )


def dynamic(facts: Facts) -> Sequence[Form]:
    """A challenge for each device, through the connector for NDES."""
    return _connection(
        facts,
        FormField("Authority Type", "Microsoft ADCS", "choose it first: the fields below depend on it"),
        FormField("Protocol", "SCEP"),
        FormField("Version", "NDES 2008/2012"),
        FormField("SCEP URL", facts.scep_url),
        FormField("Challenge Type", "Dynamic"),
        FormField("Challenge Username", facts.secret("username")),
        FormField("Challenge Password", facts.secret("password")),
        FormField("Challenge Client Certificate", "", "none"),
        FormField("SCEP Challenge URL", facts.address("challenge_url")),
        FormField("SCEP Challenge Length", str(CHALLENGE_LENGTH), "under Show Advanced Options"),
    )


def _connection(facts: Facts, *authority: FormField) -> Sequence[Form]:
    name = f"scep-server {facts.integration.name}"
    profile = "Resources > Profiles & Baselines > Profiles > Add > Windows > Windows Desktop >"
    return (
        Form(
            "Devices > Certificates > Certificate Authorities > Add",
            (
                FormField("Name", name),
                *authority,
                FormField("Retry Timeout", "30"),
                FormField("Max Retries When Pending", "5", facts.pending_note),
                FormField("Enable Proxy", "DISABLED", "ENABLED where devices cannot reach this server themselves"),
                FormField("TEST CONNECTION", "before SAVE", "must say: Test is successful"),
            ),
        ),
        Form(
            "Devices > Certificates > Certificate Authorities > Request Templates > Add",
            (
                FormField("Name", name),
                FormField("Certificate Authority", name),
                FormField("Issuing Template", "", "leave blank"),
                FormField("Subject Name", "CN = {EmailUserName} managementAttestation {DeviceUid}", "any name"),
                FormField("Private Key Length", str(KEY_BITS)),
                FormField("Private Key Type", "Signing"),
                FormField("SAN Type", "", "none"),
                FormField("Automatic Certificate Renewal", "DISABLED", "publish the profile again before the end"),
                FormField("Publish Private Key", "DISABLED"),
            ),
        ),
        Form(
            f"{profile} Device Profile > Credentials",
            (
                FormField("Credential Source", "Upload"),
                FormField("Certificate", str(facts.issuing_file), "the issuing CA"),
                FormField("Certificate Store", "Intermediate"),
            ),
        ),
        Form(
            f"{profile} User Profile > Credentials",
            (
                FormField("Credential Source", "Defined Certificate Authority"),
                FormField("Certificate Authority", name),
                FormField("Certificate Template", name),
                FormField("Key Location", "TPM If Present"),
                FormField("Certificate Store", "Personal"),
            ),
        ),
    )
