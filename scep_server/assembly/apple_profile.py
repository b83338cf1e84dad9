"""A configuration profile (.mobileconfig) for Apple devices: the CA chain and one SCEP payload.

Keys, types and ranges are those of Apple's published schema for com.apple.security.scep; two of them have a space in
their name. The chain travels as payloads of its own, because SCEP installs no CA certificate on these devices.
"""

from __future__ import annotations

import plistlib
import uuid
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509

from scep_server.assembly.forms import HIDDEN, Facts, Mdm, check_fit
from scep_server.assembly.forms.facts import KEY_BITS, RETRIES, RETRY_DELAY
from scep_server.errors import ConfigurationError

CHALLENGE_PLACEHOLDER: Final = "CHALLENGE"
DEVICE_PLACEHOLDER: Final = "DEVICE-ID"
"""For the MDM's variable, such as $UDID (Jamf Pro) or {DeviceUid} (Workspace ONE)."""
SIGNING: Final = 1
"""Bit of `Key Usage`."""


def apple_profile(facts: Facts, *, reveal: bool) -> bytes:
    """The profile, XML. With reveal it carries the challenge, otherwise a placeholder that no server accepts.

    ConfigurationError when reveal is asked for and there is no challenge that every device could present.
    """
    check_fit(Mdm.APPLE, facts.integration)
    payloads = [*_chain(facts), _scep(facts, _challenge(facts, reveal=reveal))]
    name = facts.integration.name
    profile = {
        **_header(facts, "Configuration", "profile", f"Certificate from scep-server ({name})"),
        "PayloadDescription": "The certificates of the CA, and a certificate of the device's own by SCEP.",
        "PayloadScope": "User",
        "PayloadContent": payloads,
    }
    return plistlib.dumps(profile, sort_keys=False)


def _challenge(facts: Facts, *, reveal: bool) -> str:
    if not reveal:
        return CHALLENGE_PLACEHOLDER
    challenge = facts.secrets.get("challenge", HIDDEN)
    if challenge == HIDDEN:
        name = facts.integration.name
        raise ConfigurationError(
            f"{name} has no challenge that all devices share; leave out --reveal, and replace {CHALLENGE_PLACEHOLDER} "
            f"for each device, with `scep-server challenge mint {name}` where it is a dynamic one"
        )
    return challenge


def _scep(facts: Facts, challenge: str) -> dict[str, Any]:
    return {
        **_header(facts, "com.apple.security.scep", "scep", "SCEP"),
        "PayloadContent": {
            "URL": facts.scep_url,
            "Name": facts.integration.name,
            "Subject": [[["CN", f"managementAttestation {DEVICE_PLACEHOLDER}"]]],
            "Challenge": challenge,
            "Keysize": KEY_BITS,
            "Key Type": "RSA",
            "Key Usage": SIGNING,
            "CAFingerprint": facts.fingerprint,
            "Retries": RETRIES,
            "RetryDelay": RETRY_DELAY,
            "KeyIsExtractable": False,
            "AllowAllAppsAccess": True,
        },
    }


def _chain(facts: Facts) -> Sequence[dict[str, Any]]:
    """Root first, as trust is built."""
    return [_authority(facts, der, number) for number, der in enumerate(reversed(facts.certificates.chain))]


def _authority(facts: Facts, der: bytes, number: int) -> dict[str, Any]:
    certificate = x509.load_der_x509_certificate(der)
    root = certificate.subject == certificate.issuer
    kind = "com.apple.security.root" if root else "com.apple.security.pkcs1"
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return {
        **_header(facts, kind, f"ca-{number}", str(names[0].value) if names else f"CA {number}"),
        "PayloadCertificateFileName": "root.cer" if root else f"ca-{number}.cer",
        "PayloadContent": der,
    }


def _header(facts: Facts, kind: str, part: str, shown: str) -> dict[str, Any]:
    """The same identifier and UUID every time, so that a new version replaces the profile instead of adding one."""
    name = facts.integration.name
    host = urlsplit(facts.scep_url).hostname or "scep-server"
    labels = [*reversed(host.replace(":", "-").split(".")), "scep", name, part]
    return {
        "PayloadType": kind,
        "PayloadVersion": 1,
        "PayloadIdentifier": ".".join(labels),
        "PayloadUUID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{facts.scep_url}#{name}/{part}")).upper(),
        "PayloadDisplayName": shown,
    }
