"""SCEP messages: bytes in, values out, and back.

Takes: DER or BER as devices send it, values of scep_server.types, content keys and randomness as arguments.
Gives: verified requests, replies to be signed, Malformed for what cannot be answered and Refusal for what is refused.
May touch: nothing. No private key, no clock, no I/O, no randomness of its own.
"""

from scep_server.codec.certificate import recipient_ids
from scep_server.codec.cms import Unsigned, degenerate
from scep_server.codec.messages import (
    build_crl_success,
    build_failure,
    build_pending,
    build_success,
    finish_reply,
    open_request,
    parse_request,
)
from scep_server.codec.password import Randomness, unwrap_password

__all__ = [
    "Randomness",
    "Unsigned",
    "build_crl_success",
    "build_failure",
    "build_pending",
    "build_success",
    "degenerate",
    "finish_reply",
    "open_request",
    "parse_request",
    "recipient_ids",
    "unwrap_password",
]
