"""The signature over every message, both ways: HMAC-SHA-256 under the shared secret, bound to a time and an id.

    X-Scep-Server-Id: <id>
    X-Scep-Server-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>]

What we send is signed as `t.id.body`, once for each valid secret, the newest first, so that a receiver may know either
while a secret is being changed. An answer is signed as `t.id.answer.body` with the id of the question: our own words,
sent back to us, verify as nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

SIGNATURE_HEADER: Final = "X-Scep-Server-Signature"
ID_HEADER: Final = "X-Scep-Server-Id"
_HEADER: Final = re.compile(r"t=(?P<t>[0-9]{1,12})(?P<v1>(?:, ?v1=[0-9a-f]{64}){1,4})", re.ASCII)
_ANSWER: Final = b"answer."


def sign(secrets: Sequence[bytes], timestamp: int, message_id: str, body: bytes) -> str:
    """Header value for what we send. timestamp: Unix time in seconds."""
    signed = _signed(timestamp, message_id, body)
    return ",".join([f"t={timestamp}", *(f"v1={_mac(secret, signed)}" for secret in secrets)])


def verifies_answer(secrets: Sequence[bytes], header: str, message_id: str, body: bytes) -> bool:
    """True when one of the header's signatures is right under one of the secrets. The id makes an answer fresh, so no
    clocks are compared.
    """
    read = _HEADER.fullmatch(header.strip())
    if read is None:
        return False
    offered = re.findall(r"v1=([0-9a-f]{64})", read["v1"])
    signed = _signed(int(read["t"]), message_id, _ANSWER + body)
    right = [_mac(secret, signed) for secret in secrets]
    return any(hmac.compare_digest(one, other) for one in offered for other in right)


def _signed(timestamp: int, message_id: str, content: bytes) -> bytes:
    return f"{timestamp}.{message_id}.".encode() + content


def _mac(secret: bytes, signed: bytes) -> str:
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()
