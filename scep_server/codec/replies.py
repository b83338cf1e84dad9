"""The client's half of a reply: CertRep and GetCACert bodies read (RFC 8894 sections 3.3.2 and 4.2)."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from scep_server.codec.attributes import (
    FAIL_INFO,
    FAIL_INFO_TEXT,
    MESSAGE_TYPE,
    PKI_STATUS,
    RECIPIENT_NONCE,
    SENDER_NONCE,
    TRANSACTION_ID,
    SignedAttributes,
)
from scep_server.codec.certificate import read_tbs
from scep_server.codec.cms import read_degenerate, read_signed_message, verify
from scep_server.codec.envelope import decrypt, read_envelope
from scep_server.errors import Malformed
from scep_server.types import (
    Cipher,
    Digest,
    Envelope,
    FailInfo,
    MessageType,
    PkiStatus,
    RecipientId,
    SignerCertificate,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A CertRep whose signature is verified. Whether its signer is the CA one asked is the caller's to compare."""

    status: PkiStatus
    fail_info: FailInfo | None
    """Set with FAILURE and only then."""
    fail_info_text: str
    transaction_id: str
    recipient_nonce: bytes
    sender_nonce: bytes | None
    """None from servers that follow the older drafts; the RFC's own sample has none."""
    digest: Digest
    signer: SignerCertificate
    envelope: Envelope | None = field(repr=False)
    """Set with SUCCESS and only then."""

    def answers(self, transaction_id: str, nonce: bytes) -> bool:
        """True for the reply to the request with this transactionID and senderNonce (section 3.2.1.5, MUST)."""
        return self.transaction_id == transaction_id and hmac.compare_digest(self.recipient_nonce, nonce)


def parse_reply(data: bytes, recipients: Collection[RecipientId] = (), known: Sequence[bytes] = ()) -> Reply:
    """A CertRep in DER or BER, its signature verified.

    recipients: the forms in which our own signer certificate may be named (`recipient_ids`); a PasswordRecipientInfo
    needs none. known: certificates (DER) of GetCACert, for servers that do not send their signer's along. Raises
    Malformed for what is no CertRep, Refusal for a signature that does not verify or algorithms that are not spoken.
    """
    message = read_signed_message(data)
    digest = message.digest
    signer = verify(message, frozenset(Digest), known)
    attributes = message.attributes
    if attributes.text(MESSAGE_TYPE) != str(MessageType.CERT_REP.value):
        raise Malformed("not a CertRep")
    transaction_id, recipient_nonce = attributes.text(TRANSACTION_ID), attributes.nonce(RECIPIENT_NONCE)
    if digest is None or transaction_id is None or recipient_nonce is None:
        raise Malformed("CertRep without transactionID or recipientNonce")
    status = _status(attributes)
    content = message.content
    if (content is not None) != (status is PkiStatus.SUCCESS):
        raise Malformed(f"{status.name} {'with' if content is not None else 'without'} an envelope")
    return Reply(
        status=status,
        fail_info=_fail_info(attributes) if status is PkiStatus.FAILURE else None,
        fail_info_text=(attributes.text(FAIL_INFO_TEXT) or "") if status is PkiStatus.FAILURE else "",
        transaction_id=transaction_id,
        recipient_nonce=recipient_nonce,
        sender_nonce=attributes.nonce(SENDER_NONCE),
        digest=digest,
        signer=signer,
        envelope=None if content is None else read_envelope(content, recipients, frozenset(Cipher)),
    )


_FAIL_INFOS: Final = {str(info.value): info for info in FailInfo}


def _status(attributes: SignedAttributes) -> PkiStatus:
    try:
        return PkiStatus(attributes.text(PKI_STATUS))
    except ValueError:
        raise Malformed("pkiStatus is none of RFC 8894's") from None


def _fail_info(attributes: SignedAttributes) -> FailInfo:
    fail_info = _FAIL_INFOS.get(attributes.text(FAIL_INFO) or "")
    if fail_info is None:
        raise Malformed("FAILURE without a failInfo of RFC 8894's")
    return fail_info


def open_reply(reply: Reply, content_key: bytes) -> tuple[list[bytes], list[bytes]]:
    """Certificates and CRLs (DER) of a SUCCESS, in the order sent. Malformed when the content does not open."""
    if reply.envelope is None:
        raise ValueError(f"a {reply.status.name} reply has no content")
    content, right = decrypt(reply.envelope, content_key)
    if not right:
        raise Malformed("content of the reply does not open")
    return read_degenerate(content)


def parse_ca_certs(body: bytes) -> list[bytes]:
    """Certificates (DER) of a GetCACert answer: one certificate, or a degenerate SignedData. Raises Malformed."""
    try:
        read_tbs(body)
    except Malformed:
        certificates, _ = read_degenerate(body)
        if not certificates:
            raise Malformed("no certificate in the GetCACert answer") from None
        return certificates
    return [body]
