"""The tbsCertificate of a device: constant parts encoded once for an issuer, the rest concatenated per request.

One shape only (RFC 5280 section 4.1, R76 to R78): version 3, BasicConstraints CA:FALSE, keyUsage digitalSignature and
extKeyUsage clientAuth, SAN when granted, SKI, AKI, CDP and AIA.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from scep_server.ca import der
from scep_server.ca.tbs import key_identifier

BASIC_CONSTRAINTS = bytes.fromhex("0603551d13")
KEY_USAGE = bytes.fromhex("0603551d0f")
EXTENDED_KEY_USAGE = bytes.fromhex("0603551d25")
SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("0603551d11")
SUBJECT_KEY_IDENTIFIER = bytes.fromhex("0603551d0e")
AUTHORITY_KEY_IDENTIFIER = bytes.fromhex("0603551d23")
CRL_DISTRIBUTION_POINTS = bytes.fromhex("0603551d1f")
AUTHORITY_INFORMATION_ACCESS = bytes.fromhex("06082b06010505070101")

_VERSION_3 = bytes.fromhex("a003020102")
_EXTENSIONS = 0xA3
_EMPTY_NAME = b"\x30\x00"
_BEFORE_KEY_IDENTIFIER = der.extension(SUBJECT_KEY_IDENTIFIER, der.tlv(der.OCTET_STRING, bytes(20)))[:-20]
"""The extension up to the 20 octets of SHA-1 that it ends with."""


def crl_url(public_url: str, issuer_id: str, shard: int) -> str:
    """Where the CRL of this issuer and shard is served, now and for every certificate ever issued."""
    return f"{public_url}/crl/{issuer_id}/{shard}.crl"


def issuer_url(public_url: str, issuer_id: str) -> str:
    """Where the issuer's own certificate is served."""
    return f"{public_url}/ca/{issuer_id}.cer"


def authority_key_identifier(identifier: bytes) -> bytes:
    """AuthorityKeyIdentifier extension, keyIdentifier form."""
    value = x509.AuthorityKeyIdentifier(identifier, None, None).public_bytes()
    return der.extension(AUTHORITY_KEY_IDENTIFIER, value)


class DeviceTemplate:
    """Builds device certificates of one issuer."""

    def __init__(
        self,
        *,
        algorithm: bytes,
        issuer: bytes,
        issuer_key_identifier: bytes,
        crl_urls: Sequence[str],
        issuer_certificate_url: str,
    ) -> None:
        self._algorithm_and_issuer = algorithm + issuer
        self._before_names = (
            der.extension(
                BASIC_CONSTRAINTS, x509.BasicConstraints(ca=False, path_length=None).public_bytes(), critical=True
            )
            + der.extension(KEY_USAGE, key_usage(digital_signature=True).public_bytes(), critical=True)
            + der.extension(EXTENDED_KEY_USAGE, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]).public_bytes())
        )
        tail = authority_key_identifier(issuer_key_identifier), _authority_information_access(issuer_certificate_url)
        self._tails = tuple(tail[0] + _distribution_point(url) + tail[1] for url in crl_urls)

    def tbs(
        self,
        *,
        serial: int,
        not_before: datetime,
        not_after: datetime,
        subject: bytes,
        spki: bytes,
        san: bytes | None,
        shard: int,
    ) -> bytes:
        """The tbsCertificate, DER. subject, spki and san go in as they are; san is critical when subject is empty."""
        names = b"" if san is None else der.extension(SUBJECT_ALTERNATIVE_NAME, san, critical=subject == _EMPTY_NAME)
        extensions = der.tlv(
            der.SEQUENCE, self._before_names, names, _BEFORE_KEY_IDENTIFIER, key_identifier(spki), self._tails[shard]
        )
        return der.tlv(
            der.SEQUENCE,
            _VERSION_3,
            der.integer(serial),
            self._algorithm_and_issuer,
            der.tlv(der.SEQUENCE, der.time(not_before), der.time(not_after)),
            subject,
            spki,
            der.tlv(_EXTENSIONS, extensions),
        )


def key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """KeyUsage of the four bits this CA ever sets."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _distribution_point(url: str) -> bytes:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return der.extension(CRL_DISTRIBUTION_POINTS, x509.CRLDistributionPoints([point]).public_bytes())


def _authority_information_access(url: str) -> bytes:
    description = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url))
    return der.extension(AUTHORITY_INFORMATION_ACCESS, x509.AuthorityInformationAccess([description]).public_bytes())
