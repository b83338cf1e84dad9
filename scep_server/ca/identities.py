"""What root, intermediate and RA certificates say; made once, so by the cryptography package's builder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scep_server.ca.keys import CaPrivateKey
from scep_server.ca.templates import key_usage
from scep_server.errors import ConfigurationError

BACKDATE = timedelta(hours=1)
"""CA certificates begin this much before they are made: devices with slow clocks must accept them at once (T14)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: CaPrivateKey


def make_root(key: CaPrivateKey, common_name: str, now: datetime, lifetime_days: int) -> Identity:
    """A self-signed root."""
    name = _name(common_name)
    builder = (
        _begin(name, name, key, now, now + timedelta(days=lifetime_days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    return Identity(builder.sign(key, signature_hash(key)), key)


def make_intermediate(
    root: Identity, key: CaPrivateKey, common_name: str, now: datetime, lifetime_days: int, *, scep_identity: bool
) -> Identity:
    """The issuing CA under root; with scep_identity it has the two usage bits of a SCEP recipient as well (R5)."""
    usage = key_usage(
        digital_signature=scep_identity, key_encipherment=scep_identity, key_cert_sign=True, crl_sign=True
    )
    end = min(now + timedelta(days=lifetime_days), root.certificate.not_valid_after_utc)
    builder = (
        _begin(_name(common_name), root.certificate.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(_authority_key_identifier(root.certificate), critical=False)
    )
    return Identity(builder.sign(root.key, signature_hash(root.key)), key)


def make_ra(issuer: Identity, key: rsa.RSAPrivateKey, common_name: str, now: datetime, lifetime_days: int) -> Identity:
    """The RA certificate: digitalSignature and keyEncipherment (R5), serverAuth as Windows clients want it."""
    end = min(now + timedelta(days=lifetime_days), issuer.certificate.not_valid_after_utc)
    builder = (
        _begin(_name(common_name), issuer.certificate.subject, key, now, end, issuer.certificate.not_valid_before_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_authority_key_identifier(issuer.certificate), critical=False)
    )
    return Identity(builder.sign(issuer.key, signature_hash(issuer.key)), key)


def signature_hash(key: CaPrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """Hash of the signatures a CA key makes: SHA-256, or the curve's own size."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384() if key.curve.key_size == 384 else hashes.SHA512()
    return hashes.SHA256()


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: CaPrivateKey,
    now: datetime,
    not_after: datetime,
    earliest: datetime | None = None,
) -> x509.CertificateBuilder:
    not_before = (now - BACKDATE).replace(microsecond=0)
    if earliest is not None:
        not_before = max(not_before, earliest)
    if not_after <= not_before:
        raise ConfigurationError("a CA certificate would end before it begins; check lifetimes and the issuer's end")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after.replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(_public_key(issuer))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _public_key(certificate: x509.Certificate) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ConfigurationError("the issuing certificate's key is neither RSA nor EC")
    return key


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
