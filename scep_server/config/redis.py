"""The section [redis]."""

from __future__ import annotations

import re
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from scep_server.config.fields import Nodes, OptionalPath, OptionalText, Section
from scep_server.config.password import read_password


class RedisSettings(Section):
    """[redis]: where unspent one-time challenges are kept, if not in the ledger: one server, Sentinel or Cluster."""

    url: OptionalText = None
    sentinels: Nodes = ()
    sentinel_service: OptionalText = None
    sentinel_password_file: OptionalPath = None
    cluster_nodes: Nodes = ()
    tls: bool = False
    ca_file: OptionalPath = None
    username: OptionalText = None
    password_file: OptionalPath = None
    password_env: OptionalText = None
    timeout_ms: int = Field(default=500, ge=10, le=5000)

    @model_validator(mode="after")
    def _one_way_to_it(self) -> Self:
        ways = [key for key in ("url", "sentinels", "cluster_nodes") if getattr(self, key)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are both set; keep the one that says how Redis is reached")
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("password_file and password_env are both set; keep one")
        if not ways and any((self.username, self.password_file, self.password_env, self.ca_file, self.tls)):
            raise ValueError("no Redis is named; set one of url, sentinels, cluster_nodes")
        if bool(self.sentinels) != (self.sentinel_service is not None):
            raise ValueError("sentinels and sentinel_service belong together; set both or neither")
        if self.sentinel_password_file is not None and not self.sentinels:
            raise ValueError("sentinel_password_file is for sentinels; name them as sentinels")
        if self.url is not None:
            self._check_url(self.url)
        if self.ca_file is not None and not self.encrypted:
            raise ValueError("ca_file is set but TLS is not; write rediss:// as url, or tls = true beside the others")
        return self

    def _check_url(self, url: str) -> None:
        # The value itself may hold a password, so it is not repeated.
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ValueError("url holds a user name or password; set username, and password_file or password_env")
        if self.tls:
            raise ValueError("tls is for sentinels and cluster_nodes; a url says it by rediss://")
        database = re.fullmatch(r"/?[0-9]{0,5}", parts.path)
        server = parts.scheme in {"redis", "rediss"} and parts.hostname and _has_port(parts) and database
        socket = parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1
        if not (server or socket) or parts.query or parts.fragment:
            raise ValueError("url must be redis://HOST[:PORT][/DATABASE], rediss://… (TLS) or unix:///PATH")

    @property
    def enabled(self) -> bool:
        """False: challenges are kept in the ledger."""
        return bool(self.url or self.sentinels or self.cluster_nodes)

    @property
    def encrypted(self) -> bool:
        """Redis is spoken to by TLS."""
        return self.tls or (self.url or "").startswith("rediss://")

    def password(self) -> str | None:
        """Redis's password, for the client library only. Raises ConfigurationError."""
        return read_password("redis.password", self.password_file, self.password_env)

    def sentinel_password(self) -> str | None:
        """The sentinels' own password. Raises ConfigurationError."""
        return read_password("redis.sentinel_password", self.sentinel_password_file)


def _has_port(parts: SplitResult) -> bool:
    """True for none, too."""
    try:
        return parts.port != 0
    except ValueError:
        return False
