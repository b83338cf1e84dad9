"""Opens a CA directory: parses and validates every key and certificate once, for the life of the process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.ca.authority import Lint, Randomness, SoftwareAuthority, chain_values, utc_now
from scep_server.ca.keys import CaPrivateKey, load_private_key
from scep_server.ca.ra import SoftwareRaKey
from scep_server.ca.signer import SoftwareSigner
from scep_server.ca.store import (
    ISSUING_CERTIFICATE,
    ISSUING_KEY,
    RA_CERTIFICATE,
    RA_KEY,
    ROOT_CERTIFICATE,
    read_certificates,
    read_crl_shards,
)
from scep_server.ca.tbs import certificate_value, issuer_id, read_tbs, tbs_of
from scep_server.ca.validation import check_chain, check_scep_recipient
from scep_server.errors import ConfigurationError
from scep_server.interfaces import Clock
from scep_server.policy.lint import lint_tbs
from scep_server.types import Certificate


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Hex digests of a whole certificate (R23): SHA-256, and SHA-1 for devices that know nothing else."""

    sha256: str
    sha1: str

    @classmethod
    def of(cls, certificate_der: bytes) -> Fingerprints:
        """Both digests of a DER certificate."""
        sha1 = hashlib.sha1(certificate_der, usedforsecurity=False)
        return cls(hashlib.sha256(certificate_der).hexdigest(), sha1.hexdigest())


@dataclass(frozen=True, slots=True)
class CaCertificates:
    """The certificates of a CA directory, DER. Needs no passphrase."""

    chain: tuple[bytes, ...]
    """Issuing CA first, root last."""
    ra: bytes | None
    """None where the issuing CA is the SCEP identity."""

    @property
    def issuing(self) -> bytes:
        """The issuing CA."""
        return self.chain[0]

    @property
    def issuer_id(self) -> str:
        """The issuing CA's, as certificates name it."""
        return issuer_id(read_tbs(tbs_of(self.issuing)).spki)

    @property
    def values(self) -> tuple[Certificate, ...]:
        """The chain as it travels."""
        return chain_values(self.chain)

    @property
    def root(self) -> bytes:
        """The root."""
        return self.chain[-1]

    @property
    def scep(self) -> tuple[bytes, ...]:
        """What GetCACert answers with: RA, intermediate, root (R20); the issuing CA alone where it is the identity."""
        return self.chain[:1] if self.ra is None else (self.ra, *self.chain)


@dataclass(frozen=True, slots=True)
class CaSet:
    """Everything the server holds of one CA."""

    authority: SoftwareAuthority
    ra_key: SoftwareRaKey
    certificates: CaCertificates

    @property
    def scep_certificates(self) -> tuple[bytes, ...]:
        """Certificates of GetCACert in their order, DER; the SCEP recipient is the first."""
        return self.certificates.scep

    @property
    def ca_certificates(self) -> Mapping[str, bytes]:
        """What /ca/{issuer_id}.cer serves, by issuer_id."""
        return {self.authority.issuer_id: self.certificates.issuing}

    @property
    def forbidden_keys(self) -> frozenset[bytes]:
        """SHA-256 of each SubjectPublicKeyInfo of CA and RA: no device may have one of these (N14)."""
        return frozenset(hashlib.sha256(read_tbs(tbs_of(der)).spki).digest() for der in self.own_certificates)

    @property
    def forbidden_subjects(self) -> frozenset[bytes]:
        """Subject names of CA and RA, DER: no device may be called so (N15)."""
        return frozenset(read_tbs(tbs_of(der)).subject for der in self.own_certificates)

    @property
    def own_certificates(self) -> tuple[bytes, ...]:
        """RA, when it is not the CA itself, then issuing CA to root, DER."""
        ra = self.certificates.ra
        return self.certificates.chain if ra is None else (ra, *self.certificates.chain)


def read_ca_certificates(directory: Path) -> CaCertificates:
    """The certificates of a CA directory, their chain verified. ConfigurationError when something is missing or odd."""
    chain = read_certificates(directory / ISSUING_CERTIFICATE)
    if (directory / ROOT_CERTIFICATE).exists():
        chain += read_certificates(directory / ROOT_CERTIFICATE)
    check_chain(chain)
    ra = read_certificates(directory / RA_CERTIFICATE)[0] if (directory / RA_CERTIFICATE).exists() else None
    if ra is not None:
        check_chain([ra, *chain])
    check_scep_recipient(chain[0] if ra is None else ra)
    return CaCertificates(tuple(_der(certificate) for certificate in chain), None if ra is None else _der(ra))


def load_ca(
    directory: Path,
    passphrase: bytes,
    public_url: str,
    *,
    lint: Lint = lint_tbs,
    randomness: Randomness = os.urandom,
    clock: Clock = utc_now,
) -> CaSet:
    """The CA of a directory, its keys decrypted. The root's key is not looked for: it belongs offline.

    public_url: what devices see (`https://ca.example`); goes into every certificate as CDP and AIA.
    ConfigurationError when a file is missing, open to others, under another passphrase, or does not fit the rest; an
    expired certificate is no error here: prepare and issue raise Fault, CRLs and the CA certificates are still served.
    """
    certificates = read_ca_certificates(directory)
    issuing_key = load_private_key(directory / ISSUING_KEY, passphrase)
    authority = SoftwareAuthority(
        SoftwareSigner(issuing_key),
        certificates.chain,
        check_public_url(public_url),
        crl_shards=read_crl_shards(directory),
        lint=lint,
        randomness=randomness,
        clock=clock,
    )
    if certificates.ra is None:
        recipient, ra_key, issuer = certificates.issuing, issuing_key, authority.chain()[0].issuer_id
    else:
        recipient, issuer = certificates.ra, authority.issuer_id
        ra_key = load_private_key(directory / RA_KEY, passphrase)
    return CaSet(authority, SoftwareRaKey(_rsa(ra_key), certificate_value(recipient, issuer)), certificates)


def check_public_url(public_url: str) -> str:
    """The URL without a slash at its end. ConfigurationError when no certificate should carry it."""
    url = public_url.rstrip("/")
    host = url.partition("://")[2].partition("/")[0]
    if (
        not url.startswith(("http://", "https://"))
        or not host
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise ConfigurationError(f"public_url {public_url!r} must be http:// or https:// and a host, in plain ASCII")
    return url


def _rsa(key: CaPrivateKey) -> rsa.RSAPrivateKey:
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError("the key of the SCEP identity is not RSA; SCEP messages cannot be encrypted to it")
    return key


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
