"""What Apple's and Windows' clients accept as a GetCACert answer, written from their behaviour, for any test to ask.

Each function gives None when the device would go on, else why it would stop.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.e2e.der import content_of, elements

CERTIFICATE_REQUEST_AGENT = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.1")


def certificates_in(body: bytes, content_type: str) -> list[x509.Certificate]:
    """Certificates of a GetCACert body in their order; ValueError for another content type or form (R19 to R21)."""
    if content_type == "application/x-x509-ca-cert":
        return [x509.load_der_x509_certificate(body)]
    if content_type != "application/x-x509-ca-ra-cert":
        raise ValueError(f"content type {content_type!r}")
    identifier, content = elements(content_of(body))
    if identifier != bytes.fromhex("06092a864886f70d010702"):
        raise ValueError("no SignedData")
    version, digests, encapsulated, bag, signers = elements(content_of(content_of(content)))
    if (version, digests, signers) != (b"\x02\x01\x01", b"\x31\x00", b"\x31\x00"):
        raise ValueError("not degenerate")
    if encapsulated != bytes.fromhex("300b06092a864886f70d010701"):
        raise ValueError("eContent is not absent")
    return [x509.load_der_x509_certificate(element) for element in elements(content_of(bag))]


def apple_refusal(body: bytes, content_type: str) -> str | None:
    """SecSCEPValidateCACertMessage and its caller in Apple's Security framework."""
    try:
        found = certificates_in(body, content_type)
    except ValueError as error:
        return str(error)
    if len(found) == 1 and content_type == "application/x-x509-ca-cert":
        return None if isinstance(found[0].public_key(), rsa.RSAPublicKey) else "recipient key is not RSA"
    chains = [chain for chain in (_chain(certificate, found) for certificate in found) if len(chain) > 1]
    if not chains:
        return "no chain longer than one certificate"
    if len({chain[-1].fingerprint(chain[-1].signature_hash_algorithm) for chain in chains}) != 1:  # type: ignore[arg-type]
        return "chains end at different certificates"
    issuers = {id(issuer) for chain in chains for issuer in chain[1:]}
    leaves = [chain[0] for chain in chains if id(chain[0]) not in issuers]
    signing = [leaf for leaf in leaves if _usage(leaf, "digital_signature")]
    encrypting = [leaf for leaf in leaves if _usage(leaf, "key_encipherment")]
    if not signing or not encrypting:
        return "no candidate RA certificate"
    if not all(isinstance(leaf.public_key(), rsa.RSAPublicKey) for leaf in encrypting):
        return "recipient key is not RSA"
    return None


def windows_refusal(body: bytes, content_type: str, ca_thumbprint: bytes | None = None) -> str | None:
    """Windows' SCEP client: an RA certificate with both usages and an EKU it knows; the thumbprint among the answer."""
    try:
        found = certificates_in(body, content_type)
    except ValueError as error:
        return str(error)
    ras = [certificate for certificate in found if not _is_ca(certificate)] or found[:1]
    if not any(_usage(ra, "digital_signature") and _usage(ra, "key_encipherment") for ra in ras):
        return "no RA certificate with digitalSignature and keyEncipherment"
    if len(found) > 1 and not any(
        _purposes(ra) & {ExtendedKeyUsageOID.SERVER_AUTH, CERTIFICATE_REQUEST_AGENT} for ra in ras
    ):
        return "RA certificate without serverAuth or Certificate Request Agent"
    if ca_thumbprint is not None and ca_thumbprint not in {_thumbprint(certificate) for certificate in found}:
        return "the profile's thumbprint is not among the certificates"
    return None


def _chain(leaf: x509.Certificate, found: list[x509.Certificate]) -> list[x509.Certificate]:
    chain = [leaf]
    while issuer := next((c for c in found if c not in chain and _issued(c, chain[-1])), None):
        chain.append(issuer)
    return chain


def _issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _usage(certificate: x509.Certificate, bit: str) -> bool:
    try:
        return bool(getattr(certificate.extensions.get_extension_for_class(x509.KeyUsage).value, bit))
    except x509.ExtensionNotFound:
        return False


def _purposes(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return set()


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _thumbprint(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA1

    return certificate.fingerprint(SHA1())
