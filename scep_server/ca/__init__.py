"""Takes: an IssueOrder, a committed Intent, revocations; a wrapped key and bytes to sign for the RA identity.
Gives: a tbsCertificate to record, the certificate signed from exactly that, CRLs; content keys and reply signatures.
May touch: the CA directory and the passphrase's source, at start and when a CA is made; no database, no network.
"""

from scep_server.ca.authority import SoftwareAuthority
from scep_server.ca.create import HierarchyLifetimes, HierarchyNames, create_hierarchy
from scep_server.ca.importing import import_pem, import_pkcs12
from scep_server.ca.keys import KeyType
from scep_server.ca.load import CaCertificates, CaSet, Fingerprints, load_ca, read_ca_certificates
from scep_server.ca.passphrase import read_passphrase
from scep_server.ca.ra import SoftwareRaKey

__all__ = [
    "CaCertificates",
    "CaSet",
    "Fingerprints",
    "HierarchyLifetimes",
    "HierarchyNames",
    "KeyType",
    "SoftwareAuthority",
    "SoftwareRaKey",
    "create_hierarchy",
    "import_pem",
    "import_pkcs12",
    "load_ca",
    "read_ca_certificates",
    "read_passphrase",
]
