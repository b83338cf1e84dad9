"""CertPoll, GetCert and GetCRL (RFC 8894 sections 3.3.3, 3.3.4, 4.4 to 4.6)."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from scep_server.enrollment.registry import ActiveIntegration
from scep_server.enrollment.retransmission import is_live
from scep_server.errors import Fault, Reason, Refusal
from scep_server.interfaces import Issuances
from scep_server.types import Entry, EntryState, IssuerAndSerialNumber, SealedRequest


class CrlSource(Protocol):
    """The newest CRL of a shard, from memory."""

    def current(self, issuer_id: str, shard: int) -> bytes | None:
        """DER, or None while none was signed yet."""
        ...


def polled_entry(ledger: Issuances, active: ActiveIntegration, sealed: SealedRequest, now: datetime) -> Entry:
    """Blocking. The entry a CertPoll asks for: by transactionID, and by the key that signed the request (R70, R71).

    Unknown, expired and foreign transactions get the same Refusal(NO_SUCH_CERTIFICATE).
    """
    entry = ledger.find(active.name, sealed.reply_to.transaction_id)
    if entry is None or not is_live(entry, now):
        raise Refusal(Reason.NO_SUCH_CERTIFICATE, "no such transaction")
    if entry.signer_key != sealed.signer.key_hash:
        raise Refusal(Reason.NO_SUCH_CERTIFICATE, "transaction belongs to another key", security=True)
    if entry.state is EntryState.FAILED:
        raise Refusal(Reason.REJECTED, entry.note)
    if entry.state is EntryState.REVOKED:
        raise Refusal(Reason.NO_SUCH_CERTIFICATE, "the certificate of this transaction is revoked")
    return entry


def queried_certificate(
    ledger: Issuances, active: ActiveIntegration, asked: IssuerAndSerialNumber, issuer_id: str, issuer_subject: bytes
) -> bytes:
    """Blocking. GetCert: a certificate that this integration issued (R67). Refusal(NO_SUCH_CERTIFICATE) otherwise."""
    entry = ledger.find_certificate(issuer_id, asked.serial) if asked.issuer == issuer_subject else None
    if entry is None or entry.certificate is None or entry.integration != active.name:
        raise Refusal(Reason.NO_SUCH_CERTIFICATE, "GetCert for a certificate this integration did not issue")
    if entry.state not in (EntryState.ISSUED, EntryState.REVOKED):
        raise Refusal(Reason.NO_SUCH_CERTIFICATE, "GetCert for a certificate that was not released")
    return entry.certificate


def queried_crl(
    ledger: Issuances,
    crls: CrlSource,
    asked: IssuerAndSerialNumber,
    issuer_id: str,
    issuer_subject: bytes,
    shards: int,
) -> bytes:
    """Blocking. GetCRL: the newest CRL that would list this serial (R66). With one shard the ledger is not asked, so
    that it works while the database is down. Fault while no CRL was signed yet.
    """
    if asked.issuer != issuer_subject:
        raise Refusal(Reason.NO_SUCH_CERTIFICATE, "GetCRL for another issuer")
    shard = 0
    if shards > 1:
        entry = ledger.find_certificate(issuer_id, asked.serial)
        if entry is None or entry.crl_shard is None:
            raise Refusal(Reason.NO_SUCH_CERTIFICATE, "GetCRL for an unknown certificate")
        shard = entry.crl_shard
    crl = crls.current(issuer_id, shard)
    if crl is None:
        raise Fault("no CRL has been signed yet", retry_after=5)
    return crl
