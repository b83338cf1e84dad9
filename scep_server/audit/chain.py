"""The arithmetic of the chain: every event's MAC covers the MAC before it, from a start that only this writer has."""

from __future__ import annotations

import hmac
from typing import NamedTuple


class ChainKeys(NamedTuple):
    """Two keys from the audit key file, so that a head can never pass for an event."""

    event: bytes
    head: bytes


def chain_keys(key: bytes) -> ChainKeys:
    """Derive both. ValueError for a key below 256 bits."""
    if len(key) < 32:
        raise ValueError("the audit key must have at least 32 bytes")
    return ChainKeys(
        hmac.digest(key, b"scep-server audit event", "sha256"), hmac.digest(key, b"scep-server audit head", "sha256")
    )


def first_mac(event_key: bytes, ledger: str, writer: str) -> bytes:
    """What stands before event 1: binds the chain to its ledger and its writer."""
    return hmac.digest(event_key, f"start {ledger} {writer}".encode(), "sha256")


def next_mac(event_key: bytes, previous: bytes, body: str) -> bytes:
    """MAC of the event that follows `previous`; the body holds writer and seq."""
    return hmac.digest(event_key, previous + body.encode("utf-8", "surrogateescape"), "sha256")
