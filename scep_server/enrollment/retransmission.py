"""When a request repeats one we know (RFC 8894 section 3.2.1.1, R41, R72 to R74).

Many clients derive the transactionID from their key, so the same id comes back for years: inside the pickup window
it names the stored answer, afterwards it is free again and a repeat gets a new certificate, never the old one.
"""

from __future__ import annotations

from datetime import datetime

from scep_server.errors import Reason, Refusal
from scep_server.types import CertificationRequest, Entry, EntryState, MessageType, SealedRequest


def resumes(entry: Entry, sealed: SealedRequest, request: CertificationRequest, now: datetime) -> bool:
    """True: answer from this entry. False: the transaction is free, treat the request as new.

    Raises Refusal when the transaction is somebody else's, or was decided against. The texts do not tell which (T11).
    """
    if not is_live(entry, now):
        return False
    same_signer = entry.signer_key == sealed.signer.key_hash
    # The same CSR under another message type is no repeat: a renewal may keep key and names, and wants a new one.
    if same_signer and entry.request_hash == request.info_hash and entry.message_type is sealed.message_type:
        return _repeats(entry)
    # A renewal has rules of its own, but only for the device whose transaction it is: its old key made the request
    # of this entry, or was certified by it. No certificate is a licence to end other devices' transactions.
    own = same_signer or sealed.signer.key_hash == entry.request_key
    if sealed.message_type is MessageType.RENEWAL_REQ and own:
        return False
    if not same_signer:
        raise Refusal(Reason.TRANSACTION, "transaction id is in use by another key", security=True)
    if entry.state is EntryState.PENDING:
        raise Refusal(Reason.TRANSACTION, "another request of this key is pending under this transaction id")
    return False


def is_live(entry: Entry, now: datetime) -> bool:
    """An entry that still owns its transaction id."""
    return entry.pickup_until > now


def _repeats(entry: Entry) -> bool:
    if entry.state is EntryState.REVOKED:
        raise Refusal(Reason.TRANSACTION, "the certificate of this transaction is revoked")
    if entry.state is EntryState.FAILED:
        if entry.note.startswith(REJECTED):
            raise Refusal(Reason.REJECTED, entry.note)
        return False
    return True


REJECTED = "rejected"
"""First word of the note of an entry that an operator decided against."""
