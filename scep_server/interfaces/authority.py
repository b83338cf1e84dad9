"""Keys and the certificate authority, as enrolment and CRL publishing ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from scep_server.types import (
    Certificate,
    Crl,
    Digest,
    Intent,
    IssueOrder,
    Prepared,
    RevokedCertificate,
    WrappedKey,
)


class RaKey(Protocol):
    """The only holder of the SCEP recipient's private key. Both methods block for one RSA operation."""

    certificate: Certificate

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Blocking. Always key_length bytes: a random key when anything fails (N12, RFC 3218). Never raises for input.
        Fault when the key itself is out of reach.
        """
        ...

    def sign(self, data: bytes, digest: Digest) -> bytes:
        """Blocking. RSA PKCS#1 v1.5 signature over data."""
        ...


class CertificateAuthority(Protocol):
    """One issuing CA."""

    issuer_id: str

    def chain(self) -> Sequence[Certificate]:
        """Issuing CA first, root last."""
        ...

    def prepare(self, order: IssueOrder) -> Prepared:
        """Blocking. The tbsCertificate to be recorded; fresh random serial. Refusal when the lint finds a fault."""
        ...

    def issue(self, intent: Intent) -> Certificate:
        """Blocking. Signs the recorded tbs, byte for byte, verifies the signature. Fault when the signer fails."""
        ...

    def sign_crl(
        self,
        shard: int,
        number: int,
        this_update: datetime,
        next_update: datetime,
        entries: Iterable[RevokedCertificate],
    ) -> Crl:
        """Blocking. A CRL v2 with AKI and CRLNumber; IDP when the issuer has more than one shard (R79, R80)."""
        ...
