"""The challenge a device carries in its CSR: what it stands for, and what the service says about a CSR."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from asn1crypto import csr as asn1_csr
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CHALLENGE_BYTES = 1100
"""Encrypted and signed, so far longer than the 255 characters PKCS#9 speaks of."""


@dataclass
class DeviceChallenge:
    """One device's challenge for one profile. None: the profile does not say, any value passes."""

    tenant_id: str
    device_id: str
    profile: str
    expires_at: float
    """Simulator time, seconds since 1970."""
    not_before: float = 0.0
    subject: str | None = None
    """RFC 4514, most specific first."""
    sans: set[str] | None = None
    """Like `DNS:a.example`, `URI:…`, `EMAIL:…`, `IP:…`, `UPN:…`."""
    key_size: int | None = None
    key_usage: set[str] | None = None
    """Attribute names of cryptography's KeyUsage, like digital_signature."""
    extended_key_usage: set[str] | None = None
    """Dotted OIDs."""
    single_use: bool = True
    spent_code: str = "ChallengeExpired"
    targeted: bool = True
    device_known: bool = True
    user_known: bool = True
    text: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(CHALLENGE_BYTES)).decode("ascii"))
    key: bytes | None = None
    """Public key of the CSR that used it."""


class Challenges:
    """All challenges handed to devices."""

    def __init__(self) -> None:
        self._by_text: dict[str, DeviceChallenge] = {}

    def add(self, challenge: DeviceChallenge) -> DeviceChallenge:
        self._by_text[challenge.text] = challenge
        return challenge

    def judge(self, tenant_id: str, der: bytes, now: float) -> str:
        """The code validateRequest answers for this CSR. Success binds the challenge to the CSR's key."""
        csr = x509.load_der_x509_csr(der)
        if not _signature_holds(csr):
            return "SignatureValidationFailed"
        text = challenge_password(der)
        if not text:
            return "ChallengePasswordMissing"
        challenge = self._by_text.get(text)
        if challenge is None or challenge.tenant_id != tenant_id:
            return _unreadable(text)
        key = csr.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        try:
            code = _standing(challenge, key, now) or _names(challenge, csr) or _key_rules(challenge, csr) or "Success"
        except ValueError:  # extensions that cannot be read
            code = "CertificateRequestDecodingFailed"
        if code == "Success":
            challenge.key = key
        return code


def challenge_password(der: bytes) -> str | None:
    """The challengePassword attribute, whatever string type it is in; None when it is not there exactly once."""
    attributes = asn1_csr.CertificationRequest.load(der)["certification_request_info"]["attributes"]
    values = [
        value.native
        for attribute in attributes
        if attribute["type"].native == "challenge_password"
        for value in attribute["values"]
    ]
    return str(values[0]) if len(values) == 1 else None


def san_strings(csr: x509.CertificateSigningRequest) -> set[str]:
    """The requested alternative names, as DeviceChallenge.sans writes them."""
    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    labels: dict[type[x509.GeneralName], str] = {
        x509.DNSName: "DNS",
        x509.UniformResourceIdentifier: "URI",
        x509.RFC822Name: "EMAIL",
        x509.IPAddress: "IP",
    }
    found = set()
    for name in names:
        if isinstance(name, x509.OtherName):
            found.add("UPN:" + name.value[2:].decode("utf-8", "replace"))  # a short UTF8String: tag and length go
        else:
            found.add(f"{labels.get(type(name), type(name).__name__)}:{name.value}")
    return found


def _signature_holds(csr: x509.CertificateSigningRequest) -> bool:
    try:
        return csr.is_signature_valid
    except (UnsupportedAlgorithm, ValueError):
        return False


def _unreadable(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return "ChallengeDecodingError"
    return "ChallengeDecryptionError"


def _standing(challenge: DeviceChallenge, key: bytes, now: float) -> str | None:
    if now < challenge.not_before:
        return "ChallengeInvalidTimestamp"
    if now >= challenge.expires_at:
        return "ChallengeExpired"
    if challenge.single_use and challenge.key not in {None, key}:
        return challenge.spent_code
    if not challenge.targeted:
        return "ScepProfileNoLongerTargetedToTheClient"
    if not challenge.device_known:
        return "BadDeviceIdInChallenge"
    return None if challenge.user_known else "BadUserIdInChallenge"


def _names(challenge: DeviceChallenge, csr: x509.CertificateSigningRequest) -> str | None:
    if challenge.subject is not None:
        if not list(csr.subject):
            return "SubjectNameMissing"
        if csr.subject.rfc4514_string() != x509.Name.from_rfc4514_string(challenge.subject).rfc4514_string():
            return "SubjectNameMismatch"
    if challenge.sans is not None:
        asked = san_strings(csr)
        if challenge.sans and not asked:
            return "SubjectAltNameMissing"
        if asked != challenge.sans:
            return "SubjectAltNameMismatch"
    return None


def _key_rules(challenge: DeviceChallenge, csr: x509.CertificateSigningRequest) -> str | None:
    key = csr.public_key()
    if challenge.key_size is not None and not (
        isinstance(key, rsa.RSAPublicKey) and key.key_size == challenge.key_size
    ):
        return "KeyLengthMismatch"
    if challenge.key_usage is not None and _key_usage(csr) != challenge.key_usage:
        return "KeyUsageMismatch"
    if challenge.extended_key_usage is not None:
        asked = _extended_key_usage(csr)
        if challenge.extended_key_usage and not asked:
            return "EnhancedKeyUsageMissing"
        if asked != challenge.extended_key_usage:
            return "EnhancedKeyUsageMismatch"
    return None


def _key_usage(csr: x509.CertificateSigningRequest) -> set[str]:
    try:
        usage = csr.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return set()
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return {name for name in (*names, "key_cert_sign", "crl_sign") if getattr(usage, name)}


def _extended_key_usage(csr: x509.CertificateSigningRequest) -> set[str]:
    try:
        usage = csr.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return set()
    return {oid.dotted_string for oid in usage}
