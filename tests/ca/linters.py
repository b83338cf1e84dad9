"""pkilint, set up for the certificates and CRLs of a private PKI: findings of severity ERROR or above."""

from __future__ import annotations

from typing import Any

from pkilint import loader, pkix
from pkilint.pkix import certificate, crl, extension, name
from pkilint.validation import ValidationFindingSeverity

CERTIFICATE_LINTER = certificate.create_pkix_certificate_validator_container(
    certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
    [
        certificate.create_issuer_validator_container([]),
        certificate.create_validity_validator_container(),
        certificate.create_subject_validator_container([]),
        certificate.create_extensions_validator_container([]),
        certificate.create_spki_validator_container([]),
    ],
)
CRL_LINTER = crl.create_pkix_crl_validator_container(
    [
        pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
        pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
    ],
    [
        crl.create_issuer_validator_container([]),
        crl.create_validity_validator_container([]),
        crl.create_extensions_validator_container([]),
    ],
)


def certificate_errors(der: bytes) -> list[str]:
    """What it says against a certificate."""
    return _errors(CERTIFICATE_LINTER, loader.RFC5280CertificateDocumentLoader().load_der_document(der, "certificate"))


def crl_errors(der: bytes) -> list[str]:
    """What it says against a CRL."""
    return _errors(CRL_LINTER, loader.RFC5280CertificateListDocumentLoader().load_der_document(der, "crl"))


def _errors(linter: Any, document: Any) -> list[str]:
    found = [finding for result in linter.validate(document.root) for finding in result.finding_descriptions]
    return [
        f"{finding.finding.code}: {finding.message}"
        for finding in found
        if finding.finding.severity <= ValidationFindingSeverity.ERROR
    ]
