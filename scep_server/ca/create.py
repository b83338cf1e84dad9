"""Makes a new hierarchy: root, intermediate and SCEP identity (K13)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from scep_server.ca.authority import utc_now
from scep_server.ca.identities import Identity, make_intermediate, make_ra, make_root
from scep_server.ca.keys import KeyType
from scep_server.ca.passphrase import check_passphrase
from scep_server.ca.store import NewCa, check_crl_shards, check_vacant, write_ca
from scep_server.errors import ConfigurationError
from scep_server.interfaces import Clock

SCEP_IDENTITIES = ("ra", "ca")


@dataclass(frozen=True, slots=True)
class HierarchyNames:
    """Common names of the three certificates."""

    root: str = "Organization Root Authority"
    intermediate: str = "Organization Intermediate Authority"
    ra: str = "Organization SCEP Registration Authority"


@dataclass(frozen=True, slots=True)
class HierarchyLifetimes:
    """Days that the three certificates live; each ends with its issuer at the latest."""

    root: int = 7300
    intermediate: int = 3650
    ra: int = 3650


def create_hierarchy(
    directory: Path,
    passphrase: bytes,
    *,
    key_type: str = "rsa3072",
    ra_key_type: str = "rsa2048",
    scep_identity: str = "ra",
    names: HierarchyNames = HierarchyNames(),
    lifetimes: HierarchyLifetimes = HierarchyLifetimes(),
    crl_shards: int = 1,
    clock: Clock = utc_now,
) -> None:
    """Make the CA directory: keys encrypted under passphrase, certificates as PEM; all of it or nothing.

    scep_identity `ra` makes an RSA RA certificate; `ca` lets the (RSA) intermediate be the SCEP recipient itself (R5).
    ConfigurationError when the directory holds anything, or a type, name, lifetime or the passphrase is unusable.
    """
    ca_type, ra_type = KeyType.named(key_type), check_scep_identity(scep_identity, ra_key_type)
    if scep_identity == "ca" and not ca_type.is_rsa:
        raise ConfigurationError(
            f"SCEP encrypts to RSA keys, so a {ca_type} CA cannot be the SCEP identity itself; choose an RSA key type, "
            "or the SCEP identity ra"
        )
    check_passphrase(passphrase, "its source")
    check_crl_shards(crl_shards)
    _check_plan(names, lifetimes)
    check_vacant(directory)
    now = clock()
    root = make_root(ca_type.generate(), names.root, now, lifetimes.root)
    issuing = make_intermediate(
        root, ca_type.generate(), names.intermediate, now, lifetimes.intermediate, scep_identity=scep_identity == "ca"
    )
    ra = new_ra(issuing, ra_type, names.ra, now, lifetimes.ra) if scep_identity == "ra" else None
    new = NewCa(root.certificate, root.key, (), issuing, ra, crl_shards)
    write_ca(directory, new, passphrase)


def new_ra(issuing: Identity, key_type: KeyType, name: str, now: datetime, lifetime_days: int) -> Identity:
    """A fresh RA key with its certificate. ConfigurationError when the key type is not RSA."""
    key = key_type.generate()
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError(f"SCEP encrypts to RSA keys, so the RA key type cannot be {key_type}")
    return make_ra(issuing, key, name, now, lifetime_days)


def check_scep_identity(scep_identity: str, ra_key_type: str) -> KeyType:
    """The RA's key type. ConfigurationError when it is not RSA, or scep_identity is unknown."""
    if scep_identity not in SCEP_IDENTITIES:
        raise ConfigurationError(f"the SCEP identity is one of {', '.join(SCEP_IDENTITIES)}, not {scep_identity!r}")
    ra_type = KeyType.named(ra_key_type)
    if not ra_type.is_rsa:
        raise ConfigurationError(f"SCEP encrypts to RSA keys, so the RA key type cannot be {ra_type}")
    return ra_type


def _check_plan(names: HierarchyNames, lifetimes: HierarchyLifetimes) -> None:
    wanted = (names.root, names.intermediate, names.ra)
    if len(set(wanted)) != len(wanted) or not all(0 < len(name) <= 64 and name.strip() == name for name in wanted):
        raise ConfigurationError("the names of root, intermediate and RA must differ and have 1 to 64 characters each")
    for name, days in (("root", lifetimes.root), ("intermediate", lifetimes.intermediate), ("RA", lifetimes.ra)):
        if not 1 <= days <= 36500:
            raise ConfigurationError(f"the {name} certificate's lifetime must be 1 to 36500 days, not {days}")
