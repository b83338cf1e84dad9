"""Takes over an existing CA: PEM key and chain, or PKCS#12, checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from scep_server.ca.authority import utc_now
from scep_server.ca.create import HierarchyLifetimes, HierarchyNames, check_scep_identity, new_ra
from scep_server.ca.files import read_private_file
from scep_server.ca.identities import Identity
from scep_server.ca.keys import CaPrivateKey, check_ca_key, parse_private_key
from scep_server.ca.passphrase import check_passphrase
from scep_server.ca.store import NewCa, check_crl_shards, check_vacant, read_certificates, write_ca
from scep_server.ca.validation import check_chain, check_issuing, check_scep_recipient
from scep_server.errors import ConfigurationError
from scep_server.interfaces import Clock


def import_pem(
    directory: Path,
    passphrase: bytes,
    *,
    key_file: Path,
    key_passphrase: bytes | None,
    chain_files: Sequence[Path],
    scep_identity: str = "ra",
    ra_key_type: str = "rsa2048",
    crl_shards: int = 1,
    clock: Clock = utc_now,
) -> None:
    """Make a CA directory of a PEM key (0600; plain when key_passphrase is None) and the certificates up to the root.

    passphrase protects the copy. Order in chain_files does not matter. ConfigurationError as import_identity.
    """
    key = parse_private_key(read_private_file(key_file), key_passphrase, str(key_file))
    certificates = [certificate for path in chain_files for certificate in read_certificates(path)]
    _import(directory, passphrase, key, certificates, scep_identity, ra_key_type, crl_shards, clock)


def import_pkcs12(
    directory: Path,
    passphrase: bytes,
    *,
    file: Path,
    file_passphrase: bytes | None,
    scep_identity: str = "ra",
    ra_key_type: str = "rsa2048",
    crl_shards: int = 1,
    clock: Clock = utc_now,
) -> None:
    """Make a CA directory of a PKCS#12 file (0600) that holds the key and the certificates up to the root."""
    try:
        bundle = pkcs12.load_pkcs12(read_private_file(file), file_passphrase)
    except ValueError:
        raise ConfigurationError(f"{file} cannot be read: the passphrase is wrong, or it is no PKCS#12 file") from None
    found = [bundle.cert, *bundle.additional_certs]
    certificates = [entry.certificate for entry in found if entry is not None]
    key = check_ca_key(bundle.key, str(file))
    _import(directory, passphrase, key, certificates, scep_identity, ra_key_type, crl_shards, clock)


def _import(
    directory: Path,
    passphrase: bytes,
    key: CaPrivateKey,
    certificates: Sequence[x509.Certificate],
    scep_identity: str,
    ra_key_type: str,
    crl_shards: int,
    clock: Clock,
) -> None:
    """Check everything, then write.

    ConfigurationError when the key belongs to no certificate, the certificate may not issue or has ended, the chain
    does not reach a root, or (scep_identity `ca`) devices could not encrypt to it (R5).
    """
    ra_type = check_scep_identity(scep_identity, ra_key_type)
    check_passphrase(passphrase, "its source")
    check_crl_shards(crl_shards)
    check_vacant(directory)
    now = clock()
    issuing, *above = _order(key, certificates)
    check_issuing(issuing, key, now)
    check_chain([issuing, *above])
    identity = Identity(issuing, key)
    if scep_identity == "ca":
        check_scep_recipient(issuing)
        ra = None
    else:
        ra = new_ra(identity, ra_type, HierarchyNames().ra, now, HierarchyLifetimes().ra)
    root, between = (above[-1], tuple(above[:-1])) if above else (None, ())
    write_ca(directory, NewCa(root, None, between, identity, ra, crl_shards), passphrase)


def _order(key: CaPrivateKey, certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The certificate of the key, then each one's issuer as far as they are there."""
    mine = [certificate for certificate in certificates if certificate.public_key() == key.public_key()]
    if not mine:
        raise ConfigurationError("the private key belongs to none of the given certificates")
    chain = [mine[0]]
    while chain[-1].subject != chain[-1].issuer and len(chain) <= len(certificates):
        above = [certificate for certificate in certificates if _issued(certificate, chain[-1])]
        if not above:
            break
        chain.append(above[0])
    return chain


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - any trouble means that this is not the issuer
        return False
    return True
