"""What a program may ask for in JSON, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from challenge_plugins.dynamic.orders import MAX_ORDERS
from scep_server.errors import ConfigurationError
from scep_server.types import Minted, MintOrder, NameBinding

MEMBERS: Final = (
    "count",
    "subject",
    "sans",
    "device_ids",
    "device_id",
    "lifetime_minutes",
    "uses",
    "transaction_id",
)
_LARGEST: Final = 1_000_000


def read_orders(asked: Mapping[str, Any]) -> tuple[MintOrder, ...]:
    """As many equal orders as were asked for. ConfigurationError for what is unknown or of another type.

    Whether the values make sense is Mint's to say.
    """
    unknown = set(asked) - set(MEMBERS)
    if unknown:
        raise ConfigurationError(f"{len(unknown)} unknown member(s); there are: {', '.join(MEMBERS)}")
    minutes = _number(asked, "lifetime_minutes", None)
    binding = NameBinding(
        subject=_text(asked, "subject"),
        sans=_texts("sans", asked["sans"]) if "sans" in asked else None,
        device_ids=_device_ids(asked),
    )
    order = MintOrder(
        binding=binding,
        lifetime=None if minutes is None else timedelta(minutes=minutes),
        uses=_number(asked, "uses", 1) or 0,
        transaction_id=_text(asked, "transaction_id"),
    )
    count = _number(asked, "count", 1) or 0
    if not 1 <= count <= MAX_ORDERS:
        raise ConfigurationError(f"count must be 1 to {MAX_ORDERS}")
    if order.transaction_id is not None and count > 1:
        raise ConfigurationError("transaction_id is for one challenge; leave out count")
    return (order,) * count


def minted_record(minted: Sequence[Minted], scep_url: str) -> dict[str, Any]:
    """The answer."""
    return {
        "challenges": [
            {"challenge": one.challenge, "expires_at": one.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")} for one in minted
        ],
        "scep_url": scep_url,
    }


def _device_ids(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """None named binds to none; a list that names none is somebody's mistake, and must not do the same (N16)."""
    one = _text(asked, "device_id")
    if "device_ids" not in asked:
        return () if one is None else (one,)
    if one is not None:
        raise ConfigurationError("give device_id or device_ids, not both")
    several = _texts("device_ids", asked["device_ids"])
    if not several:
        raise ConfigurationError("device_ids names no device; leave it out for a challenge that any device may use")
    return several


def _number(asked: Mapping[str, Any], name: str, default: int | None) -> int | None:
    if name not in asked:
        return default
    value = asked[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise ConfigurationError(f"{name} must be a whole number from 0 to {_LARGEST}")
    return value


def _text(asked: Mapping[str, Any], name: str) -> str | None:
    if name not in asked:
        return None
    if not _is_text(asked[name]):
        raise ConfigurationError(f"{name} must be a text")
    return str(asked[name])


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(map(_is_text, value)):
        raise ConfigurationError(f"{name} must be a list of texts")
    return tuple(value)


def _is_text(value: Any) -> bool:
    """JSON can write half of a surrogate pair, which nothing after this could encode."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
