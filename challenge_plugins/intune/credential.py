"""How the app proves itself to Entra ID: a client secret, or a certificate with its private key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from scep_server.errors import ConfigurationError

MAX_PEM: Final = 1 << 16
_PEM_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """The value (not the id) of a client secret of the app registration."""

    value: str = field(repr=False)

    def for_msal(self) -> str:
        """As msal's client_credential takes it."""
        return self.value


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate uploaded to the app registration, and its RSA key."""

    certificate: str
    private_key: str = field(repr=False)
    """PEM, PKCS#8, not encrypted."""
    ends_at: datetime

    def for_msal(self) -> dict[str, str]:
        """As msal's client_credential takes it: without a thumbprint it signs PS256 and names the key by SHA-256."""
        return {"private_key": self.private_key, "public_certificate": self.certificate}


Credential = ClientSecret | ClientCertificate


def parse_certificate(pem: bytes) -> ClientCertificate:
    """PEM text with one private key and its certificate, in any order. ConfigurationError for anything else."""
    blocks = [(match[1], match[0]) for match in _PEM_BLOCK.finditer(pem[:MAX_PEM])]
    keys = [block for label, block in blocks if label.endswith(b"PRIVATE KEY")]
    certificates = [block for label, block in blocks if label == b"CERTIFICATE"]
    if len(keys) != 1 or not certificates:
        raise ConfigurationError(
            "client_certificate: the file must hold the certificate and its private key, both in PEM; "
            "`openssl pkcs12 -in app.pfx -nodes -out app.pem` makes one from a .pfx"
        )
    try:
        key = serialization.load_pem_private_key(keys[0], None)
        certificate = x509.load_pem_x509_certificate(certificates[0])
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            "client_certificate: the key or the certificate does not parse, or the key has a passphrase; "
            "`openssl rsa -in app.key` takes a passphrase off"
        ) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError("client_certificate: Entra ID takes RSA keys only; make the certificate with one")
    if certificate.public_key() != key.public_key():
        raise ConfigurationError(
            "client_certificate: the private key is not that of the first certificate in the file; put its own first"
        )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return ClientCertificate(
        certificate.public_bytes(encoding).decode("ascii"),
        key.private_bytes(encoding, form, serialization.NoEncryption()).decode("ascii"),
        certificate.not_valid_after_utc,
    )
