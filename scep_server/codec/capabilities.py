"""GetCACaps and GetCACert bodies (RFC 8894 sections 3.5.2 and 4.2).

The keywords are the truth about one integration, line by line (R17). The form of the lines matters: strongSwan
compares by the length of the *line*, so that a blank one reads as every capability, and Apple knows no `SCEPStandard`,
so that what it implies is listed as well (R16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scep_server.codec.cms import degenerate
from scep_server.types import Allowed, Cipher, Digest, MessageType

CAPS_CONTENT_TYPE: Final = "text/plain"
SINGLE_CONTENT_TYPE: Final = "application/x-x509-ca-cert"
CHAIN_CONTENT_TYPE: Final = "application/x-x509-ca-ra-cert"
"""Sent exactly so, without parameters: Apple compares the whole header value."""

_AES: Final = frozenset({Cipher.AES128_CBC, Cipher.AES192_CBC, Cipher.AES256_CBC})


def ca_caps(allowed: Allowed) -> bytes:
    """Body of GetCACaps: exact keywords of section 3.5.2, one a line, separated by LF, nothing behind the last one."""
    aes = allowed.ciphers >= _AES
    sha256 = Digest.SHA256 in allowed.digests
    keywords = {
        "AES": aes,
        "POSTPKIOperation": True,
        "SCEPStandard": aes and sha256 and MessageType.PKCS_REQ in allowed.message_types,
        "SHA-256": sha256,
        # Not in the RFC's list, but true, and Debian 12's strongSwan enrols unaided when it sees it (R18).
        "SHA-384": Digest.SHA384 in allowed.digests,
        "SHA-512": Digest.SHA512 in allowed.digests,
        "SHA-1": Digest.SHA1 in allowed.digests,
        "DES3": Cipher.DES3_CBC in allowed.ciphers,
        "Renewal": MessageType.RENEWAL_REQ in allowed.message_types,
    }
    return "\n".join(keyword for keyword, true in keywords.items() if true).encode("ascii")


def ca_certs(certificates: Sequence[bytes]) -> tuple[bytes, str]:
    """Body and content type of GetCACert for these certificates (DER), in the order given.

    One certificate goes as it is (section 4.2.1.1, R19); several as a degenerate SignedData: RA, intermediate, root
    (section 4.2.1.2, R20).
    """
    if not certificates:
        raise ValueError("GetCACert needs a certificate")
    if len(certificates) == 1:
        return certificates[0], SINGLE_CONTENT_TYPE
    return degenerate(certificates), CHAIN_CONTENT_TYPE
