"""The arithmetic of the chain: every event's MAC covers the MAC before it, from a start that only this writer has."""

from __future__ import annotations

import hmac
from typing import NamedTuple


class MacKey:
    """HMAC-SHA-256 under one key, whose two blocks are hashed once and not again for every event."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def mac(self, data: bytes) -> bytes:
        """The MAC of the data, 32 bytes."""
        keyed = self._keyed.copy()
        keyed.update(data)
        return keyed.digest()


class ChainKeys(NamedTuple):
    """Two keys from the audit key file, so that a head can never pass for an event."""

    event: MacKey
    head: MacKey


def chain_keys(key: bytes) -> ChainKeys:
    """Derive both. ValueError for a key below 256 bits."""
    if len(key) < 32:
        raise ValueError("the audit key must have at least 32 bytes")
    root = MacKey(key)
    return ChainKeys(MacKey(root.mac(b"scep-server audit event")), MacKey(root.mac(b"scep-server audit head")))


def first_mac(event_key: MacKey, ledger: str, writer: str) -> bytes:
    """What stands before event 1: binds the chain to its ledger and its writer."""
    return event_key.mac(f"start {ledger} {writer}".encode())


def next_mac(event_key: MacKey, previous: bytes, body: str) -> bytes:
    """MAC of the event that follows `previous`; the body holds writer and seq."""
    return event_key.mac(previous + body.encode("utf-8", "surrogateescape"))
