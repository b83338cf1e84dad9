"""The section [server]."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from scep_server.config.fields import Address, Listener, Networks, OptionalPath, OptionalText, PublicUrl, Section


class ServerSettings(Section):
    """[server]: the two listeners, what devices see, and the limits of one process."""

    listen: Listener = "127.0.0.1:8080"
    admin_listen: Listener = "127.0.0.1:9080"
    public_url: PublicUrl = None
    tls_certificate: OptionalPath = None
    tls_key: OptionalPath = None
    trusted_proxies: Networks = ()
    workers: int = Field(default=1, ge=1, le=64)
    default_integration: OptionalText = None
    max_body_bytes: int = Field(default=65536, ge=4096, le=1 << 20)
    max_request_line_bytes: int = Field(default=16384, ge=4096, le=65536)
    max_in_flight: int = Field(default=64, ge=1, le=10000)
    read_timeout_seconds: int = Field(default=100, ge=1, le=300)
    keepalive_seconds: int = Field(default=30, ge=0, le=3600)
    shutdown_seconds: int = Field(default=30, ge=1, le=600)
    retry_after_seconds: int = Field(default=30, ge=1, le=3600)
    wrong_challenges_per_minute: int = Field(default=5, ge=1, le=100)

    @model_validator(mode="after")
    def _tls_pair(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together; set both or neither")
        return self

    @property
    def address(self) -> Address:
        """Where devices connect."""
        return Address.parse(self.listen)

    @property
    def admin_address(self) -> Address:
        """Where health and metrics are served."""
        return Address.parse(self.admin_listen)
