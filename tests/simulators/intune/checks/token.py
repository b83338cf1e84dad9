"""Checks of the token request: its form, and the signed assertion an application may use instead of a secret."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.simulators.intune.checks import violation

REQUIRED = ("grant_type", "client_id", "scope")
ALLOWED = {*REQUIRED, "client_secret", "client_assertion", "client_assertion_type", "client_info"}
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME_SECONDS = 600
CLOCK_TOLERANCE_SECONDS = 5


def form(request: web.Request, body: bytes) -> tuple[dict[str, str], list[str]]:
    """The form's fields and what is wrong with it."""
    found = []
    if request.content_type != "application/x-www-form-urlencoded":
        found.append(violation("1.1-form", f"Content-Type {request.headers.get('Content-Type')!r}"))
    pairs = urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    fields = dict(pairs)
    names = [name for name, _ in pairs]
    found += [violation("1.1-form", f"{name} {names.count(name)} times") for name in REQUIRED if names.count(name) != 1]
    if fields.get("grant_type", "client_credentials") != "client_credentials":
        found.append(violation("1.1-form", f"grant_type {fields['grant_type']}"))
    found += [violation("1.1-fields", name) for name in sorted(fields.keys() - ALLOWED)]
    if ("client_secret" in fields) == ("client_assertion" in fields):
        found.append(violation("1.1-credential", "both or neither of client_secret and client_assertion"))
    if "client_assertion" in fields and fields.get("client_assertion_type") != ASSERTION_TYPE:
        found.append(violation("1.1-credential", f"client_assertion_type {fields.get('client_assertion_type')}"))
    scope = fields.get("scope", "/.default")
    if " " in scope or not scope.endswith("/.default"):
        found.append(violation("1.1-scope", f"scope {scope!r}"))
    return fields, found


@dataclass(frozen=True)
class Assertion:
    """A client_assertion taken apart."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> Assertion:
        """ValueError when it is not a JWT in compact form."""
        header, claims, signature = text.split(".")
        parsed = [json.loads(_decode(part)) for part in (header, claims)]
        if not all(isinstance(part, dict) for part in parsed):
            raise ValueError("not a JWT")
        return cls(parsed[0], parsed[1], f"{header}.{claims}".encode(), _decode(signature))

    def violations(self, client_id: str, token_urls: set[str]) -> list[str]:
        """Where header and claims leave the documented shape."""
        found = []
        if self.header.get("alg") not in {"PS256", "RS256"}:
            found.append(violation("1.1-assertion", f"alg {self.header.get('alg')}"))
        if not {"x5t", "x5t#S256"} & self.header.keys():
            found.append(violation("1.1-assertion", "header names no certificate"))
        if self.claims.get("aud") not in token_urls:
            found.append(violation("1.1-assertion", f"aud {self.claims.get('aud')}"))
        if not self.claims.get("iss") == self.claims.get("sub") == client_id:
            found.append(violation("1.1-assertion", f"iss {self.claims.get('iss')} sub {self.claims.get('sub')}"))
        expiry, now = self.claims.get("exp"), time.time()
        if not isinstance(expiry, int | float) or not now < expiry <= now + LIFETIME_SECONDS + CLOCK_TOLERANCE_SECONDS:
            found.append(violation("1.1-lifetime", f"exp {expiry} at {now:.0f}"))
        if not isinstance(self.claims.get("jti"), str) or not self.claims["jti"]:
            found.append(violation("1.1-jti", "no jti"))
        return found

    def signed_by(self, certificates: list[x509.Certificate]) -> bool:
        """One of these certificates is the one named, and its key made the signature."""
        return any(self._names(certificate) and self._verifies(certificate) for certificate in certificates)

    def _names(self, certificate: x509.Certificate) -> bool:
        prints = {"x5t": hashes.SHA1(), "x5t#S256": hashes.SHA256()}
        named = [key for key in prints if key in self.header]
        return bool(named) and all(
            str(self.header[key]).rstrip("=")
            == base64.urlsafe_b64encode(certificate.fingerprint(prints[key])).rstrip(b"=").decode()
            for key in named
        )

    def _verifies(self, certificate: x509.Certificate) -> bool:
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        scheme: Any = padding.PKCS1v15()
        if self.header.get("alg") == "PS256":
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        try:
            key.verify(self.signature, self.signed, scheme, hashes.SHA256())
        except InvalidSignature:
            return False
        return True


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
