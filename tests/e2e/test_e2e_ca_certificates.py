"""GetCACert as Apple and Windows judge it (R5, R20 to R22; the platforms' own acceptance rules)."""

from __future__ import annotations

import hashlib

from asn1crypto import cms
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.e2e import wire
from tests.e2e.server import ScepServer


def key_usage(certificate: x509.Certificate) -> x509.KeyUsage:
    return certificate.extensions.get_extension_for_class(x509.KeyUsage).value


def chains(certificates: list[x509.Certificate]) -> list[list[x509.Certificate]]:
    """A chain for every certificate that issued no other one of the message: leaf first."""
    issuers = {one.issuer for one in certificates if one.issuer != one.subject}
    leaves = [one for one in certificates if one.subject not in issuers]
    found = []
    for leaf in leaves:
        chain = [leaf]
        while chain[-1].issuer != chain[-1].subject:
            above = [one for one in certificates if one.subject == chain[-1].issuer]
            if not above:
                break
            chain[-1].verify_directly_issued_by(above[0])
            chain.append(above[0])
        found.append(chain)
    return found


def apple_accepts(certificates: list[x509.Certificate]) -> bool:
    """A chain longer than one inside the message, one common end, and a leaf that may sign and decipher."""
    found = chains(certificates)
    longest = max(len(chain) for chain in found)
    ends = {chain[-1].serial_number for chain in found}
    usages = [key_usage(chain[0]) for chain in found]
    able = any(usage.digital_signature and usage.key_encipherment for usage in usages)
    return longest > 1 and len(ends) == 1 and able


def test_ca_certificates_as_apple_wants_them(server: ScepServer):
    answer = wire.get(server.url, "GetCACert")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-x509-ca-ra-cert")
    certificates = [x509.load_der_x509_certificate(der) for der in server.ca_certificates()]
    assert apple_accepts(certificates)
    assert not apple_accepts(certificates[1:])
    assert not apple_accepts([certificates[0]])


def test_ca_certificates_in_order_and_form(server: ScepServer):
    signed = cms.ContentInfo.load(wire.get(server.url, "GetCACert").body, strict=True)["content"]
    assert signed["version"].native == "v1"
    assert len(signed["digest_algorithms"]) == len(signed["signer_infos"]) == 0
    assert signed["encap_content_info"]["content_type"].native == "data"
    assert signed["encap_content_info"]["content"].native is None
    ra, issuing, root = (x509.load_der_x509_certificate(der) for der in server.ca_certificates())
    ra.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)


def test_ca_certificates_as_windows_wants_the_recipient(server: ScepServer):
    """digitalSignature and keyEncipherment, EKU serverAuth, and nobody else may look like a recipient."""
    ra, issuing, root = (x509.load_der_x509_certificate(der) for der in server.ca_certificates())
    assert key_usage(ra).digital_signature
    assert key_usage(ra).key_encipherment
    assert not key_usage(ra).key_cert_sign
    assert ExtendedKeyUsageOID.SERVER_AUTH in ra.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    for authority in (issuing, root):
        assert key_usage(authority).key_cert_sign
        assert key_usage(authority).crl_sign
        assert not key_usage(authority).key_encipherment
        assert not key_usage(authority).digital_signature


def test_ca_certificates_have_the_printed_fingerprints(server: ScepServer):
    _, issuing, root = server.ca_certificates()
    for der, prefix in ((root, "root"), (issuing, "issuing_ca")):
        for digest in ("sha256", "sha1"):
            printed = server.info[f"{prefix}_{digest}"].replace(":", "").lower()
            assert printed == hashlib.new(digest, der).hexdigest()
