"""Microsoft Intune: two trusted certificate profiles and the SCEP certificate profile."""

from __future__ import annotations

from collections.abc import Sequence

from scep_server.assembly.forms.facts import KEY_BITS, Facts, Form, FormField


def delegated(facts: Facts) -> Sequence[Form]:
    """Intune puts a challenge of its own into each request, and is asked about it."""
    options = facts.integration.options
    san_types = ", ".join(sorted(options.san_types))
    create = "Devices > Configuration > Create > New policy > Templates >"
    return (
        Form(
            f"{create} Trusted certificate, for Windows",
            (
                FormField("Certificate file", str(facts.issuing_file), "the issuing CA, as a .cer file"),
                FormField("Destination store", "Computer certificate store - Intermediate"),
                FormField("Assignments", "the groups of the SCEP profile"),
            ),
        ),
        Form(
            f"{create} Trusted certificate, for the root",
            (
                FormField("Certificate file", str(facts.root_file), "the root, as a .cer file"),
                FormField("Destination store", "Computer certificate store - Root", "asked for on Windows only"),
                FormField("Assignments", "the groups of the SCEP profile"),
            ),
        ),
        Form(
            f"{create} SCEP certificate",
            (
                FormField("Certificate type", "User"),
                FormField("Subject name format", "CN={{UserPrincipalName}} ManagementAttestation {{AAD_Device_ID}}"),
                FormField("Subject alternative name", "", f"none; others than {san_types or 'none'} are dropped"),
                FormField("Certificate validity period", "1 year", f"whatever it says, {options.lifetime_days} days"),
                FormField(
                    "Key storage provider (KSP)",
                    "Enroll to Trusted Platform Module (TPM) KSP if present, otherwise Software KSP",
                ),
                FormField("Key usage", "Digital signature"),
                FormField("Key size (bits)", str(KEY_BITS)),
                FormField("Hash algorithm", "SHA-2"),
                FormField(
                    "Root Certificate",
                    "the trusted certificate profile",
                    "Windows: the issuing CA's; others: the root's",
                ),
                FormField("Extended key usage", "Client Authentication", "1.3.6.1.5.5.7.3.2, from Predefined values"),
                FormField("Renewal threshold (%)", "20", "of the lifetime left; a new key enrols then"),
                FormField("SCEP Server URLs", facts.scep_url),
            ),
        ),
    )
