"""All sections together, and what follows from more than one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import quote

from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from scep_server.config.ca import CaSettings
from scep_server.config.fields import Section
from scep_server.config.ledger import LedgerSettings
from scep_server.config.outbound import OutboundSettings
from scep_server.config.redis import RedisSettings
from scep_server.config.server import ServerSettings

ENVIRONMENT_PREFIX: Final = "SCEP_SERVER_"


class SecretsSettings(Section):
    """[secrets]: the key that challenge secrets are encrypted under at rest."""

    key_file: Path = Path("secrets/challenges.key")


class AuditSettings(Section):
    """[audit]: the chain's key and the folder of its heads, kept apart from the database."""

    key_file: Path = Path("secrets/audit.key")
    heads: Path = Path("audit")


class LogSettings(Section):
    """[log]: what goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Settings(BaseSettings):
    """The whole configuration, checked and frozen."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        validate_default=True,
    )

    server: ServerSettings = ServerSettings()
    ca: CaSettings = CaSettings()
    ledger: LedgerSettings = LedgerSettings()
    redis: RedisSettings = RedisSettings()
    secrets: SecretsSettings = SecretsSettings()
    audit: AuditSettings = AuditSettings()
    outbound: OutboundSettings = OutboundSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file (the file's content arrives as init arguments); no other source."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _reachable_url(self) -> Self:
        if self.server.public_url is None and self.server.address.wildcard:
            raise ValueError(
                f"server.listen is {self.server.listen}, which devices cannot be told; set server.public_url"
            )
        return self

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Every section by its name."""
        for name in type(self).model_fields:
            yield name, getattr(self, name)

    @property
    def public_url(self) -> str:
        """Base address as devices see it, without a trailing slash: what CDP, AIA and printed URLs start with."""
        if self.server.public_url is not None:
            return self.server.public_url
        scheme = "http" if self.server.tls_certificate is None else "https"
        return f"{scheme}://{self.server.address}"

    def scep_url(self, integration: str) -> str:
        """The SCEP URL of one integration."""
        return f"{self.public_url}/scep/{quote(integration, safe='')}"
