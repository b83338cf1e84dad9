"""Facts for forms: an integration of any kind, under a CA of three certificates made here."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from scep_server.assembly.forms import Facts
from scep_server.ca import CaCertificates
from scep_server.types import Integration, IntegrationOptions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BASE = "https://ca.example.org"


@functools.cache
def certificates() -> CaCertificates:
    """RA, issuing CA and root; DER."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("Root", "Issuing", "RA")}

    def made(name: str, issuer: str) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW)
            .not_valid_after(NOW + timedelta(days=365))
        )
        return builder.sign(keys[issuer], hashes.SHA256()).public_bytes(Encoding.DER)

    return CaCertificates((made("Issuing", "Root"), made("Root", "Root")), made("RA", "Issuing"))


def facts(
    challenge: str,
    *,
    options: IntegrationOptions | None = None,
    addresses: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Facts:
    """An integration named laptops."""
    integration = Integration("laptops", challenge, options or IntegrationOptions(), {}, True, 1, NOW, NOW)
    return Facts(
        integration=integration,
        scep_url=f"{BASE}/scep/laptops",
        addresses=addresses or {},
        secrets=secrets or {},
        certificates=certificates(),
        root_file=Path("/data/ca/root.pem"),
        issuing_file=Path("/data/ca/issuing.pem"),
    )
