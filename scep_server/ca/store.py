"""The CA directory: which file holds what, and how a whole directory appears at once or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.ca.files import create_private_file, read_public_file, sync_directory
from scep_server.ca.identities import Identity
from scep_server.ca.keys import CaPrivateKey, save_private_key
from scep_server.errors import ConfigurationError

ROOT_CERTIFICATE = "root.pem"
ROOT_KEY = "root.key.pem"
"""Not read by the server; to be moved offline after the CA is made."""
ISSUING_CERTIFICATE = "issuing.pem"
"""The issuing certificate, then those between it and the root, if any."""
ISSUING_KEY = "issuing.key.pem"
RA_CERTIFICATE = "ra.pem"
"""Absent where the issuing CA itself is the SCEP identity."""
RA_KEY = "ra.key.pem"
ISSUER = "issuer.json"
"""What is fixed for the issuer's life: {"crl_shards": n}."""

MAX_CRL_SHARDS = 1024


@dataclass(frozen=True, slots=True)
class NewCa:
    """What a CA directory is made of.

    root: None when the issuing certificate is self-signed. root_key: None when it is not ours (an imported CA).
    between: certificates between issuing and root. ra: None when the issuing CA itself is the SCEP identity.
    """

    root: x509.Certificate | None
    root_key: CaPrivateKey | None
    between: tuple[x509.Certificate, ...]
    issuing: Identity
    ra: Identity | None
    crl_shards: int


def check_vacant(directory: Path) -> None:
    """ConfigurationError when the directory holds anything: a CA is never overwritten."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationError(
            f"{directory} is not empty; a CA is never overwritten. Move it away first, or name another directory"
        )


def write_ca(directory: Path, ca: NewCa, passphrase: bytes) -> None:
    """Write all files beside the directory, sync them, then rename: after a crash there is a whole CA or none.

    ConfigurationError when the directory holds anything or cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))  # mode 0700
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be made: {error.strerror}") from None
    try:
        _write_files(staging, ca, passphrase)
        sync_directory(staging)
        staging.rename(
            directory
        )  # fails on a directory that is not empty: check_vacant cannot know what comes after it
        sync_directory(directory.parent)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, in order. ConfigurationError when it is missing or holds none."""
    try:
        return x509.load_pem_x509_certificates(read_public_file(path))
    except ValueError as error:
        raise ConfigurationError(f"{path} holds no readable PEM certificate: {error}") from None


def read_crl_shards(directory: Path) -> int:
    """How many CRLs this issuer has; 1 when nothing is recorded. ConfigurationError for a damaged record."""
    path = directory / ISSUER
    if not path.exists():
        return 1
    try:
        shards = json.loads(read_public_file(path))["crl_shards"]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f'{path} must hold {{"crl_shards": N}}; restore it from a backup') from None
    return check_crl_shards(shards)


def check_crl_shards(shards: object) -> int:
    """The number again. ConfigurationError when it is no integer in 1..MAX_CRL_SHARDS."""
    if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= MAX_CRL_SHARDS:
        raise ConfigurationError(f"the number of CRL shards must be 1 to {MAX_CRL_SHARDS}, not {shards!r}")
    return shards


def _write_files(directory: Path, ca: NewCa, passphrase: bytes) -> None:
    if ca.root is not None:
        create_private_file(directory / ROOT_CERTIFICATE, _pem(ca.root))
    if ca.root_key is not None:
        save_private_key(directory / ROOT_KEY, ca.root_key, passphrase)
    create_private_file(directory / ISSUING_CERTIFICATE, _pem(ca.issuing.certificate, *ca.between))
    save_private_key(directory / ISSUING_KEY, ca.issuing.key, passphrase)
    if ca.ra is not None:
        create_private_file(directory / RA_CERTIFICATE, _pem(ca.ra.certificate))
        save_private_key(directory / RA_KEY, ca.ra.key, passphrase)
    create_private_file(directory / ISSUER, json.dumps({"crl_shards": ca.crl_shards}).encode() + b"\n")


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
