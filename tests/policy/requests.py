"""Verified requests for policy's tests, made through the real reader."""

from __future__ import annotations

from typing import Any

from scep_server.codec.csr import parse_csr
from scep_server.types import CertificationRequest
from tests.e2e.identities import certification_request, name, rsa_key

SUBJECT = name(("O", "Example"), ("CN", "device"))


def request(
    *extensions: bytes, subject: bytes = SUBJECT, key: Any = None, challenge: str | None = None
) -> CertificationRequest:
    """A PKCS#10 of this subject that wishes for these extensions."""
    return parse_csr(certification_request(key or rsa_key(), subject, extensions=extensions, challenge=challenge))
