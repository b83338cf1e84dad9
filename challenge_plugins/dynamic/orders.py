"""What an order for one-time challenges may ask for; everything a requester can choose has a bound."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from challenge_plugins.dynamic.settings import MAX_LIFETIME_MINUTES
from scep_server.errors import ConfigurationError
from scep_server.types import MintOrder, NameBinding

MAX_ORDERS: Final = 1000
"""Challenges minted at once: one transaction."""
MAX_USES: Final = 1000
MAX_SANS: Final = 50
MAX_DEVICE_IDS: Final = 20
MAX_TEXT: Final = 1024
"""Characters of a subject or a SAN."""
SAN_KINDS: Final = ("dns", "email", "uri", "ip", "upn")
_ASCII_KINDS: Final = frozenset({"dns", "email", "uri"})
"""An IA5String in the certificate (RFC 5280 section 4.2.1.6), so that nothing else could ever be compared with one."""
_TRANSACTION_ID: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
"""As long and as printable as the PrintableString it will be compared with."""
_DEVICE_ID: Final = re.compile(r"[0-9A-Za-z._@-]{4,255}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

Canonical = Callable[[str], str]
"""Host.canonical_subject."""


def check_order(order: MintOrder, canonical_subject: Canonical, *, kept_for_ec: bool) -> str | None:
    """The canonical subject the order binds, if any. ConfigurationError for an order that cannot be."""
    if not 1 <= order.uses <= MAX_USES:
        raise ConfigurationError(f"uses must be 1 to {MAX_USES}")
    if order.lifetime is not None and not _minutes(1) <= order.lifetime <= _minutes(MAX_LIFETIME_MINUTES):
        raise ConfigurationError(f"a lifetime must be 1 to {MAX_LIFETIME_MINUTES} minutes")
    if order.transaction_id is not None:
        if not kept_for_ec:
            raise ConfigurationError("a transaction id keeps nothing here; the integration needs kept_for_ec=on")
        if not _TRANSACTION_ID.fullmatch(order.transaction_id):
            raise ConfigurationError("a transaction id must be 1 to 255 printable ASCII characters")
    return _check_binding(order.binding, canonical_subject)


def is_device_id(text: str) -> bool:
    """True when a certificate's names can be searched for it as a whole word."""
    return _DEVICE_ID.fullmatch(text) is not None


def names_of(order: MintOrder) -> dict[str, Any]:
    """What an order is bound to, for the audit."""
    binding = order.binding
    named = {"subject": binding.subject, "sans": binding.sans, "device_ids": binding.device_ids or None}
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in named.items() if value is not None
    }


def _check_binding(binding: NameBinding, canonical_subject: Canonical) -> str | None:
    if len(binding.sans or ()) > MAX_SANS:
        raise ConfigurationError(f"at most {MAX_SANS} alternative names may be bound")
    for san in binding.sans or ():
        _check_san(san)
    if len(binding.device_ids) > MAX_DEVICE_IDS:
        raise ConfigurationError(f"at most {MAX_DEVICE_IDS} device ids may be bound")
    if not all(map(is_device_id, binding.device_ids)):
        raise ConfigurationError(
            "a device id must be 4 to 255 characters of A-Z a-z 0-9 . _ @ -, or it is not found in a name"
        )
    if binding.subject is None:
        return None
    if not 0 < len(binding.subject) <= MAX_TEXT or _CONTROL.search(binding.subject):
        raise ConfigurationError(f"a subject must have 1 to {MAX_TEXT} characters and no control characters")
    try:
        return canonical_subject(binding.subject)
    except ValueError as error:
        raise ConfigurationError(f"the subject cannot be read: {error}") from None


def _check_san(san: str) -> None:
    kind, _, value = san.partition(":")
    if kind not in SAN_KINDS or not value.strip():
        raise ConfigurationError(f"an alternative name must be TYPE:VALUE, TYPE one of {', '.join(SAN_KINDS)}")
    if len(san) > MAX_TEXT or _CONTROL.search(san):
        raise ConfigurationError(f"an alternative name has at most {MAX_TEXT} characters and no control characters")
    if kind in _ASCII_KINDS and not value.isascii():
        raise ConfigurationError(
            f"an alternative name of type {kind} has ASCII characters only; write a domain of another script as xn--"
        )
    if kind == "ip":
        try:
            ipaddress.ip_address(value.strip())
        except ValueError:
            raise ConfigurationError("an alternative name of type ip must be an IPv4 or IPv6 address") from None


def _minutes(count: int) -> timedelta:
    return timedelta(minutes=count)
