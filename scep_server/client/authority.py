"""The answer of GetCACert, sorted: who signs certificates, who reads requests, and what ties them together.

Nothing in it is trusted by being received (RFC 8894 section 2.2): a fingerprint from elsewhere must match one of its
certificates, and the rest must chain to that one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.client.transport import Answer
from scep_server.codec.replies import parse_ca_certs
from scep_server.errors import ConfigurationError, Malformed

_MAX_PATH: Final = 6


class NotVerified(Malformed):
    """What the server sent does not hold together; nothing of it was used."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The certificates of one SCEP server."""

    certificates: tuple[x509.Certificate, ...]
    """All, in the order received."""
    recipient: x509.Certificate
    """What requests are encrypted to and answers signed by: the RA, or the CA itself."""
    issuer: x509.Certificate
    """The CA that signs what we get."""
    anchor: x509.Certificate
    """The certificate of the given fingerprint; without one, the top of the chain, unauthenticated."""

    def path(self, certificate: x509.Certificate, at: datetime) -> list[x509.Certificate]:
        """From certificate to the anchor, both included. NotVerified when a link does not verify or is out of time."""
        path = [certificate]
        while path[-1] != self.anchor:
            above = next((other for other in self.certificates if _signed_by(path[-1], other)), None)
            if above is None or above in path or len(path) == _MAX_PATH:
                raise NotVerified(
                    f"{path[-1].subject.rfc4514_string()!r} does not chain to {self.anchor.subject.rfc4514_string()!r}"
                )
            path.append(above)
        for link in path:
            if not link.not_valid_before_utc <= at <= link.not_valid_after_utc:
                raise NotVerified(f"{link.subject.rfc4514_string()!r} is not valid at {at:%Y-%m-%dT%H:%M:%SZ}")
        return path

    def chain(self) -> list[x509.Certificate]:
        """The issuing CA and what is above it, as far as the server sent it: what chain.pem holds."""
        chain = [self.issuer]
        while not _self_signed(chain[-1]) and len(chain) < _MAX_PATH:
            above = next((other for other in self.certificates if _signed_by(chain[-1], other)), None)
            if above is None or above in chain:
                break
            chain.append(above)
        return chain


def read_authority(answer: Answer, fingerprint: str | None) -> Authority:
    """Sorts a GetCACert answer (RFC 8894 section 4.2.1). fingerprint: hex SHA-256 or SHA-1 of one certificate in it.

    Raises NotVerified when the fingerprint matches nothing, Malformed when the answer cannot be a CA's.
    """
    certificates = _parse(answer)
    recipient = _recipient(certificates)
    issuer = _issuer(certificates, recipient)
    anchor = _top(certificates, issuer)
    if fingerprint is not None:
        wanted = parse_fingerprint(fingerprint)
        matching = [one for one in certificates if wanted in {sha256(one), sha1(one)}]
        if not matching:
            held = ", ".join(f"{one.subject.rfc4514_string()} {sha256(one)}" for one in certificates)
            raise NotVerified(f"no certificate of the server has fingerprint {wanted}; it sent {held}")
        if not _is_ca(matching[0]):
            raise NotVerified("the fingerprint is that of the RA certificate; give the root's or the issuing CA's")
        anchor = matching[0]
    return Authority(certificates, recipient, issuer, anchor)


def parse_fingerprint(text: str) -> str:
    """Lower-case hex of 20 or 32 bytes; colons and blanks are allowed. Raises ConfigurationError."""
    digits = text.lower().removeprefix("sha256:").removeprefix("sha1:").replace(":", "").replace(" ", "")
    try:
        length = len(bytes.fromhex(digits))
    except ValueError:
        length = 0
    if length not in {20, 32}:
        raise ConfigurationError("--ca-fingerprint is not a SHA-256 or SHA-1 in hex; copy it from `scep-server check`")
    return digits


def sha256(certificate: x509.Certificate) -> str:
    """Lower-case hex fingerprint of the whole certificate (RFC 8894 section 2.2)."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def sha1(certificate: x509.Certificate) -> str:
    """The same in SHA-1, for profiles that can hold no more."""
    return hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest()


_CONTENT_TYPES: Final = frozenset({"application/x-x509-ca-cert", "application/x-x509-ca-ra-cert"})


def _parse(answer: Answer) -> tuple[x509.Certificate, ...]:
    if answer.content_type.partition(";")[0].strip().lower() not in _CONTENT_TYPES:
        raise Malformed(f"GetCACert was answered with content type {answer.content_type!r}")
    try:
        return tuple(x509.load_der_x509_certificate(one) for one in parse_ca_certs(answer.body))
    except ValueError as error:
        raise Malformed(f"GetCACert: a certificate cannot be read: {error}") from None


def _recipient(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The RSA certificate that may encipher keys; an RA before a CA. Without any key usage, the first RSA one."""
    rsa = [one for one in certificates if isinstance(one.public_key(), RSAPublicKey)]
    fit = [one for one in rsa if _may(one, "key_encipherment", "digital_signature")]
    for one in sorted(fit, key=_is_ca):
        return one
    raise Malformed("GetCACert holds no RSA certificate that requests could be encrypted to")


def _issuer(certificates: Sequence[x509.Certificate], recipient: x509.Certificate) -> x509.Certificate:
    if _is_ca(recipient):
        return recipient
    for one in certificates:
        if _is_ca(one) and _signed_by(recipient, one):
            return one
    raise Malformed("GetCACert holds no CA certificate that issued its RA certificate")


def _top(certificates: Sequence[x509.Certificate], issuer: x509.Certificate) -> x509.Certificate:
    top = issuer
    for _ in range(_MAX_PATH):
        above = next((one for one in certificates if one != top and _signed_by(top, one)), None)
        if above is None or _self_signed(top):
            break
        top = above
    return top


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject or not _is_ca(issuer):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _self_signed(certificate: x509.Certificate) -> bool:
    return _signed_by(certificate, certificate)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _may(certificate: x509.Certificate, *usages: str) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
    return all(getattr(usage, name) for name in usages)
