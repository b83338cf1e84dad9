"""Checks of the three bodies of the validation service, and of a notification against its certificate."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from typing import Any

from asn1crypto import csr as asn1_csr
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.simulators.intune.checks import exact_keys, violation

THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}")
SERIAL = re.compile(r"[0-9A-Fa-f]+")
EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,7}Z")
REQUEST_KEYS = frozenset({"transactionId", "certificateRequest", "callerInfo"})
SUCCESS_KEYS = REQUEST_KEYS | {
    "certificateThumbprint",
    "certificateSerialNumber",
    "certificateExpirationDateUtc",
    "issuingCertificateAuthority",
}
OPTIONAL_KEYS = frozenset({"caConfiguration", "certificateAuthority"})
FAILURE_KEYS = REQUEST_KEYS | {"hResult", "errorDescription"}


def validation(body: Any) -> list[str]:
    """validateRequest."""
    outer = exact_keys("1.3-keys", "the body", body, frozenset({"request"}))
    inner = body.get("request")
    return outer or exact_keys("1.3-keys", "request", inner, REQUEST_KEYS) or _common(inner)


def success(body: Any) -> list[str]:
    """successNotification."""
    outer = exact_keys("1.3-keys", "the body", body, frozenset({"notification"}))
    inner = body.get("notification")
    if wrong := outer or exact_keys("1.3-keys", "notification", inner, SUCCESS_KEYS, OPTIONAL_KEYS):
        return wrong
    found = _common(inner) + _text(inner, "issuingCertificateAuthority")
    found += _pattern("1.3-thumbprint", THUMBPRINT, inner["certificateThumbprint"])
    found += _pattern("1.3-serial", SERIAL, inner["certificateSerialNumber"])
    found += _expiration(inner["certificateExpirationDateUtc"])
    for key in OPTIONAL_KEYS & inner.keys():
        if not isinstance(inner[key], str | None):
            found.append(violation("1.3-optional", f"{key} is a {type(inner[key]).__name__}"))
    return found


def failure(body: Any) -> list[str]:
    """failureNotification."""
    outer = exact_keys("1.3-keys", "the body", body, frozenset({"notification"}))
    inner = body.get("notification")
    if wrong := outer or exact_keys("1.3-keys", "notification", inner, FAILURE_KEYS):
        return wrong
    found = _common(inner)
    result, text = inner["hResult"], inner["errorDescription"]
    if type(result) is not int or not 0x80000000 <= result <= 0x8FFFFFFF:
        found.append(violation("1.3-hresult", f"hResult {result!r}"))
    if not isinstance(text, str) or len(text) > 255:
        found.append(violation("1.3-description", f"{len(text) if isinstance(text, str) else text!r}"))
    return found


def decoded(certificate_request: Any) -> bytes | None:
    """The DER of a certificateRequest, None when it is not one."""
    if not isinstance(certificate_request, str):
        return None
    try:
        der = base64.b64decode(certificate_request, validate=True)
        asn1_csr.CertificationRequest.load(der, strict=True)
        x509.load_der_x509_csr(der)
    except (ValueError, binascii.Error):
        return None
    return der if base64.b64encode(der).decode("ascii") == certificate_request else None


def mismatches(notification: dict[str, Any], certificate: x509.Certificate) -> list[str]:
    """Where the body of a successNotification speaks of another certificate than this one."""
    inner = notification["notification"]
    said = {
        "thumbprint": inner["certificateThumbprint"].lower(),
        "serial": int(inner["certificateSerialNumber"], 16),
        "expiration": dt.datetime.strptime(inner["certificateExpirationDateUtc"][:19] + "+0000", "%Y-%m-%dT%H:%M:%S%z"),
    }
    true = {
        "thumbprint": certificate.fingerprint(hashes.SHA1()).hex(),  # the documented field
        "serial": certificate.serial_number,
        "expiration": certificate.not_valid_after_utc,
    }
    return [f"{key} {said[key]!r}, certificate has {true[key]!r}" for key in true if said[key] != true[key]]


def _common(inner: dict[str, Any]) -> list[str]:
    found = _text(inner, "transactionId") + _text(inner, "callerInfo")
    if decoded(inner["certificateRequest"]) is None:
        found.append(violation("1.3-csr", f"certificateRequest {str(inner['certificateRequest'])[:40]!r}…"))
    return found


def _text(inner: dict[str, Any], key: str) -> list[str]:
    value = inner[key]
    return [] if isinstance(value, str) and value else [violation("1.3-text", f"{key} is {value!r}")]


def _pattern(fact: str, pattern: re.Pattern[str], value: Any) -> list[str]:
    return [] if isinstance(value, str) and pattern.fullmatch(value) else [violation(fact, f"{value!r}")]


def _expiration(value: Any) -> list[str]:
    if wrong := _pattern("1.3-expiration", EXPIRATION, value):
        return wrong
    try:
        dt.datetime.fromisoformat(value[:19])
    except ValueError as error:
        return [violation("1.3-expiration", f"{value!r}: {error}")]
    return []
