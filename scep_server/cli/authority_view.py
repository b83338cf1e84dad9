"""The server's certificates, printed for `client ca`."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.cli import output
from scep_server.client import Authority
from scep_server.client.authority import sha1, sha256


def show_authority(authority: Authority, *, pem: bool, as_json: bool) -> None:
    """Each certificate with its part in SCEP and both fingerprints."""
    for certificate in authority.certificates:
        record = {
            "role": _role(authority, certificate),
            "subject": certificate.subject.rfc4514_string(),
            "sha256": sha256(certificate),
            "sha1": sha1(certificate),
            "not_after": output.rfc3339(certificate.not_valid_after_utc),
        }
        text = certificate.public_bytes(Encoding.PEM).decode()
        if as_json:
            output.json_line(record | ({"pem": text} if pem else {}))
        else:
            output.fields(record)
            print(text if pem else "")


def _role(authority: Authority, certificate: x509.Certificate) -> str:
    roles = []
    if certificate == authority.recipient:
        roles.append("SCEP recipient")
    if certificate == authority.issuer:
        roles.append("issuing CA")
    if certificate == authority.chain()[-1] and certificate != authority.issuer:
        roles.append("root")
    return ", ".join(roles) or "further"
