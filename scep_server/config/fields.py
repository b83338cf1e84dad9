"""What sections are made of: the kinds of values that several have, and what all have in common."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode


class Address(NamedTuple):
    """Where a server listens: one of ours, or one that we connect to."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """HOST:PORT or [IPV6]:PORT. Raises ValueError with the remedy."""
        host, separator, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not separator or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r} is no listener address; write HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")
        if ":" in bare and host == bare:
            raise ValueError(f"{text!r} needs brackets around the IPv6 address: [{bare}]:{port}")
        return cls(bare, int(port))

    @property
    def wildcard(self) -> bool:
        """True for 0.0.0.0 and ::, which no client can be told."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _unset_when_empty(value: object) -> object:
    """TOML has no null: an empty string means that an optional key is not set."""
    return None if value == "" else value


def _split_when_text(value: object) -> object:
    """Environment variables carry lists as a, b, c."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _check_address(value: str) -> str:
    return str(Address.parse(value))


def _check_network(value: str) -> str:
    return str(ipaddress.ip_network(value, strict=False))


def _check_public_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{value!r} is no base address; write http(s)://HOST[:PORT][/PATH] as devices reach it")
    return value.rstrip("/")


Listener = Annotated[str, AfterValidator(_check_address)]
OptionalText = Annotated[str | None, BeforeValidator(_unset_when_empty)]
OptionalPath = Annotated[Path | None, BeforeValidator(_unset_when_empty)]
PublicUrl = Annotated[Annotated[str, AfterValidator(_check_public_url)] | None, BeforeValidator(_unset_when_empty)]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_check_network)], ...],
    BeforeValidator(_split_when_text),
    NoDecode,
]
Nodes = Annotated[
    tuple[Annotated[str, AfterValidator(_check_address)], ...],
    BeforeValidator(_split_when_text),
    NoDecode,
]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def below(self, folder: Path) -> Self:
        """The same, with relative paths taken from this folder."""
        paths = {
            key: folder / value for key in type(self).model_fields if isinstance(value := getattr(self, key), Path)
        }
        return self.model_copy(update=paths)
