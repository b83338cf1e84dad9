"""What a CA's certificates must be before a server uses them (R5, RFC 5280 section 4.2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from scep_server.ca.keys import CaPrivateKey
from scep_server.errors import ConfigurationError


def check_chain(chain: Sequence[x509.Certificate]) -> None:
    """Each certificate is signed by the next, every issuer is a CA, the last is a self-signed root.

    ConfigurationError otherwise.
    """
    for certificate, issuer in pairwise(chain):
        _check_issued(certificate, issuer)
    root = chain[-1]
    if root.subject != root.issuer:
        raise ConfigurationError(
            f"the chain ends at {_title(root)}, which is no root; add the certificates up to the root"
        )
    _check_issued(root, root)


def check_issuing(certificate: x509.Certificate, key: CaPrivateKey, now: datetime) -> None:
    """The certificate may issue device certificates and CRLs, is valid now, and belongs to key.

    ConfigurationError otherwise.
    """
    if certificate.public_key() != key.public_key():
        raise ConfigurationError(f"the private key does not belong to {_title(certificate)}")
    _check_ca(certificate)
    usage = _key_usage(certificate)
    if usage is None or not (usage.key_cert_sign and usage.crl_sign):
        raise ConfigurationError(f"{_title(certificate)} lacks the key usages keyCertSign and cRLSign")
    if now >= certificate.not_valid_after_utc:
        raise ConfigurationError(f"{_title(certificate)} ended on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now < certificate.not_valid_before_utc:
        raise ConfigurationError(f"{_title(certificate)} begins on {certificate.not_valid_before_utc:%Y-%m-%d}")


def check_scep_recipient(certificate: x509.Certificate) -> None:
    """SCEP messages can be encrypted to it and verified with it (R5). ConfigurationError otherwise."""
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        raise ConfigurationError(
            f"{_title(certificate)} has no RSA key, so it cannot be the SCEP identity; use the SCEP identity ra"
        )
    usage = _key_usage(certificate)
    if usage is None or not (usage.digital_signature and usage.key_encipherment):
        raise ConfigurationError(
            f"{_title(certificate)} lacks digitalSignature and keyEncipherment, by which devices choose whom to "
            "encrypt to (RFC 8894 section 2.1.2); use the SCEP identity ra"
        )


def _check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    _check_ca(issuer)
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise ConfigurationError(f"{_title(certificate)} was not signed by {_title(issuer)}") from None


def _check_ca(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        constraints = None
    if constraints is None or not constraints.ca:
        raise ConfigurationError(f"{_title(certificate)} is no CA certificate (BasicConstraints CA:TRUE is missing)")


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _title(certificate: x509.Certificate) -> str:
    return f"the certificate {certificate.subject.rfc4514_string()!r}"
