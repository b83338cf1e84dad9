"""What we send: questions, notices and pings, as JSON that docs/webhook-openapi.json describes."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from challenge_plugins.webhook.described_csr import described
from scep_server.types import Attempt, MessageType, Notice, NoticeKind

VERSION: Final = 1
MAX_USER_AGENT: Final = 256
"""Characters; the one field that is cut, because nobody should judge by it."""
_MESSAGE_TYPES: Final = {MessageType.PKCS_REQ: "PKCSReq", MessageType.RENEWAL_REQ: "RenewalReq"}
_NOTICE_TYPES: Final = {NoticeKind.ISSUED: "scep.issued", NoticeKind.FAILED: "scep.failed"}


@dataclass(frozen=True, slots=True)
class Message:
    """One POST, before it is signed."""

    id: str
    timestamp: int
    """Unix time in seconds."""
    body: bytes = field(repr=False)


def question(attempt: Attempt, now: datetime, *, send_challenge: bool) -> Message:
    """`scep.request`: may this device have a certificate? A new id each time it is asked."""
    return _message(
        "scep.request",
        str(uuid.uuid4()),
        now,
        {
            "integration": attempt.integration,
            "transaction_id": attempt.transaction_id,
            "message_type": _MESSAGE_TYPES.get(attempt.message_type, attempt.message_type.name),
            "renewal": attempt.renews,
            "source": {
                "address": attempt.source.address,
                "user_agent": attempt.source.user_agent[:MAX_USER_AGENT],
            },
            "csr": described(attempt.request, with_challenge=send_challenge),
            "challenge": attempt.request.challenge if send_challenge else None,
        },
    )


def told(notice: Notice, now: datetime) -> Message:
    """`scep.issued` or `scep.failed`: what became of a yes. The same id each time it is told."""
    return _message(
        _NOTICE_TYPES[notice.kind],
        notice.id,
        now,
        {
            "integration": notice.integration,
            "transaction_id": notice.transaction_id,
            "happened_at": int(notice.at.timestamp()),
            "entry_id": notice.entry_id,
            "subject": notice.subject,
            "reason": notice.reason or None,
            "certificate": _certificate(notice),
            "earlier_tries": notice.tries,
        },
    )


def ping(integration: str, now: datetime) -> Message:
    """`scep.ping`: are you there, and do we share a secret?"""
    return _message("scep.ping", str(uuid.uuid4()), now, {"integration": integration})


def _certificate(notice: Notice) -> dict[str, Any] | None:
    certificate = notice.certificate
    if certificate is None:
        return None
    return {
        "der": base64.b64encode(certificate.der).decode(),
        "serial": f"{certificate.serial:x}",
        "sha256": hashlib.sha256(certificate.der).hexdigest(),
        "not_before": int(certificate.not_before.timestamp()),
        "not_after": int(certificate.not_after.timestamp()),
    }


def _message(kind: str, message_id: str, now: datetime, fields: dict[str, Any]) -> Message:
    timestamp = int(now.timestamp())
    head = {"version": VERSION, "type": kind, "id": message_id, "timestamp": timestamp}
    # ASCII only: whatever a device wrote (line breaks, escapes, half surrogates) travels escaped (N21).
    return Message(message_id, timestamp, json.dumps(head | fields, separators=(",", ":")).encode("ascii"))
