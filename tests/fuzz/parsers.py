"""Every parser that reads bytes of strangers, under one rule: only Malformed and Refusal may escape (issue line 10)."""

from __future__ import annotations

import base64
from collections.abc import Callable

from scep_server.codec import ber, cms, csr, explain, http_get, messages, names, replies
from scep_server.codec.certificate import recipient_ids
from scep_server.codec.envelope import read_envelope
from scep_server.errors import Malformed, Refusal
from scep_server.types import Allowed, Cipher, Digest, IntegrationOptions, MessageType, RecipientId

EVERYTHING = Allowed(frozenset(MessageType), frozenset(Digest), frozenset(Cipher))
NOBODY = (RecipientId(issuer=names.EMPTY_NAME, serial=1),)
OPTIONS = IntegrationOptions()


def _subject(data: bytes) -> None:
    from scep_server.policy.names import check_subject

    names.rfc4514(data)
    names.prepared(data)
    check_subject(data, forbidden_subjects=[names.EMPTY_NAME])


def _alternative_names(data: bytes) -> None:
    from scep_server.policy.names import judge_san

    judge_san(data, OPTIONS)


PARSERS: dict[str, Callable[[bytes], object]] = {
    "guard": ber.guard,
    "to_der": ber.to_der,
    "request": lambda data: messages.parse_request(data, EVERYTHING, NOBODY),
    "envelope": lambda data: read_envelope(data, NOBODY, EVERYTHING.ciphers),
    "degenerate": cms.read_degenerate,
    "reply": lambda data: replies.parse_reply(data, NOBODY),
    "ca_certs": replies.parse_ca_certs,
    "csr": lambda data: csr.parse_csr(data, allow_sha1=True),
    "subject": _subject,
    "alternative_names": _alternative_names,
    "recipient_ids": recipient_ids,
    "message_from_query": lambda data: http_get.message_from_query(data.decode("latin-1")),
    "message_from_raw_query": http_get.message_from_query,
    "operation": http_get.operation_from_query,
    "body": http_get.body_to_der,
    "get_request": lambda data: messages.parse_request(
        http_get.message_from_query(b"message=" + base64.b64encode(data)), EVERYTHING, NOBODY
    ),
    "explain": explain.explain,
}


def run(name: str, data: bytes) -> bool:
    """Whether the parser took the bytes; anything but a typed error escapes."""
    try:
        PARSERS[name](data)
    except (Malformed, Refusal):
        return False
    return True
