"""Settings: one TOML file, overridden by environment variables, and nothing else.

Every key has a default that is safe on one machine, so an empty file is a valid configuration. Unknown keys are
refused, so that a misspelt limit is not silently the default. Secrets are never values here: a setting names the file,
environment variable or systemd credential that holds one. Relative paths are relative to the file's own folder.

    SCEP_SERVER_SERVER__LISTEN=0.0.0.0:8443     overrides  [server] listen
    SCEP_SERVER_LEDGER__URL=sqlite:///l.db      overrides  [ledger] url

conf/scep-server.toml shows every key with its default; tests/config holds it against this module.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from scep_server.errors import ConfigurationError

FILE_NAME: Final = "scep-server.toml"
ENVIRONMENT_PREFIX: Final = "SCEP_SERVER_"

_SQLITE: Final = "sqlite:///"


class Address(NamedTuple):
    """Where a listener binds."""

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


def _password(key: str, file: Path | None, variable: str | None = None) -> str | None:
    """What the file or environment variable of key_file or key_env holds; None when neither is named. Raises
    ConfigurationError.
    """
    if file is not None:
        source = f"{key}_file"
        try:
            password = file.read_text().rstrip("\r\n")
        except OSError as error:
            raise ConfigurationError(f"{source}: cannot read {file} ({error.strerror}); create it, mode 0600") from None
    elif variable is not None:
        source = f"{key}_env"
        password = os.environ.get(variable, "")
    else:
        return None
    if not password:
        raise ConfigurationError(f"{source}: the password source is empty; put the password there")
    return password


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


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


class CaSettings(Section):
    """[ca]: the folder with keys and certificates, the passphrase's source, and the CRLs."""

    directory: Path = Path("ca")
    passphrase_file: OptionalPath = Path("secrets/ca-passphrase")
    passphrase_env: OptionalText = None
    passphrase_credential: OptionalText = None
    crl_shards: int = Field(default=1, ge=1, le=1024)
    crl_validity_hours: int = Field(default=168, ge=1, le=24 * 365)
    crl_renewal_hours: int = Field(default=24, ge=1, le=24 * 365)

    @model_validator(mode="after")
    def _one_passphrase_source(self) -> Self:
        named = [key for key in ("passphrase_env", "passphrase_credential") if getattr(self, key) is not None]
        if "passphrase_file" in self.model_fields_set and self.passphrase_file is not None:
            named.append("passphrase_file")
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are both set; keep one source and leave the others empty")
        if not named and self.passphrase_file is None:
            raise ValueError("no passphrase source; set one of passphrase_file, passphrase_env, passphrase_credential")
        return self

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.crl_renewal_hours >= self.crl_validity_hours:
            raise ValueError("crl_renewal_hours must be below crl_validity_hours, or clients see an expired CRL")
        return self

    @property
    def passphrase_source(self) -> tuple[Literal["file", "env", "credential"], str]:
        """Which source holds the passphrase, and its path or name."""
        if self.passphrase_env is not None:
            return "env", self.passphrase_env
        if self.passphrase_credential is not None:
            return "credential", self.passphrase_credential
        return "file", str(self.passphrase_file)


class LedgerSettings(Section):
    """[ledger]: the database of record."""

    url: str = "sqlite:///ledger.sqlite3"
    password_file: OptionalPath = None
    password_env: OptionalText = None

    @model_validator(mode="after")
    def _known_database(self) -> Self:
        if not self.url.startswith((_SQLITE, "postgresql+psycopg://")):
            # The value itself may hold a password, so it is not repeated.
            raise ValueError("url must be sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")
        if not self.url.startswith(_SQLITE) and urlsplit(self.url).password is not None:
            raise ValueError("url holds a password; move it to a file and name that as password_file (or password_env)")
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("password_file and password_env are both set; keep one")
        return self

    def connection_url(self) -> str:
        """The url with its password filled in, for the database driver only. Raises ConfigurationError."""
        password = _password("ledger.password", self.password_file, self.password_env)
        if password is None:
            return self.url
        scheme, rest = self.url.split("://", 1)
        user, at, server = rest.partition("@")
        if not at:
            raise ConfigurationError("ledger.url: a password needs a user name; write postgresql+psycopg://USER@HOST/…")
        return f"{scheme}://{user}:{quote(password, safe='')}@{server}"


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
        server = parts.scheme in {"redis", "rediss"} and parts.hostname and re.fullmatch(r"/?[0-9]{0,5}", parts.path)
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
        return _password("redis.password", self.password_file, self.password_env)

    def sentinel_password(self) -> str | None:
        """The sentinels' own password. Raises ConfigurationError."""
        return _password("redis.sentinel_password", self.sentinel_password_file)


class SecretsSettings(Section):
    """[secrets]: the key that challenge secrets are encrypted under at rest."""

    key_file: Path = Path("secrets/challenges.key")


class AuditSettings(Section):
    """[audit]: the chain's key and the folder of its heads, kept apart from the database."""

    key_file: Path = Path("secrets/audit.key")
    heads: Path = Path("audit")


class OutboundSettings(Section):
    """[outbound]: how services that challenge plugins ask are reached."""

    ca_file: OptionalPath = None
    proxy: OptionalText = None
    proxy_password_file: OptionalPath = None

    @model_validator(mode="after")
    def _plain_proxy(self) -> Self:
        if self.proxy not in {None, "none"}:
            # The value itself may hold a password, so it is not repeated.
            try:
                parts = urlsplit(self.proxy or "")
                complete = parts.scheme == "http" and parts.hostname and parts.port and parts.path in {"", "/"}
            except ValueError:
                complete = False
            if not complete or parts.query or parts.fragment:
                raise ValueError('proxy must be http://[USER@]HOST:PORT, or "none" to use no proxy at all')
            if parts.password is not None:
                raise ValueError("proxy holds a password; move it to a file and name that as proxy_password_file")
        if self.proxy_password_file is not None and not (self.proxy and urlsplit(self.proxy).username):
            raise ValueError("proxy_password_file needs a user: write proxy as http://USER@HOST:PORT")
        return self


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


def load(path: Path) -> Settings:
    """The settings of one file and the environment. ConfigurationError names key, cause and remedy."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist; make it with `scep-server init`, or name another with --config"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); check its owner and mode") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}; correct that line") from None
    return from_mapping(content, folder=path.resolve().parent, origin=str(path))


def from_mapping(content: Mapping[str, Any], *, folder: Path, origin: str = "configuration") -> Settings:
    """The settings of a parsed file; relative paths are taken from folder. Raises ConfigurationError."""
    _refuse_unknown_environment()
    try:
        settings = Settings(**content)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origin)) from None
    except SettingsError as error:
        raise ConfigurationError(
            f"environment: {error}; set single keys, as {ENVIRONMENT_PREFIX}SECTION__KEY"
        ) from None
    return _resolved(settings, folder)


def _resolved(settings: Settings, folder: Path) -> Settings:
    sections: dict[str, Section] = {}
    for name in Settings.model_fields:
        section: Section = getattr(settings, name)
        paths = {
            key: folder / value
            for key in type(section).model_fields
            if isinstance(value := getattr(section, key), Path)
        }
        sections[name] = section.model_copy(update=paths)
    ledger = settings.ledger.url
    if ledger.startswith(_SQLITE):
        file = folder / ledger.removeprefix(_SQLITE)
        sections["ledger"] = sections["ledger"].model_copy(update={"url": f"{_SQLITE}{file}"})
    return settings.model_copy(update=sections)


def _refuse_unknown_environment() -> None:
    """pydantic-settings looks up known names only, so a misspelt section would be ignored without this."""
    for name in os.environ:
        section, nested, _ = name.upper().removeprefix(ENVIRONMENT_PREFIX).partition("__")
        if name.upper().startswith(ENVIRONMENT_PREFIX) and nested and section.lower() not in Settings.model_fields:
            known = ", ".join(Settings.model_fields)
            raise ConfigurationError(f"environment variable {name} names no section; the sections are {known}")


def _explain(error: ValidationError, origin: str) -> str:
    """One line for every wrong key. Values are not repeated: one may be a secret put in the wrong place."""
    lines = []
    for fault in error.errors(include_input=False, include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            text = f"unknown key; {_nearest(fault['loc'])}"
        else:
            text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{origin}: {key + ': ' if key else ''}{text}")
    return "\n".join(lines)


def _nearest(location: tuple[int | str, ...]) -> str:
    fields: list[str] = list(Settings.model_fields)
    if len(location) > 1:
        section = Settings.model_fields[str(location[0])].annotation
        fields = list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
    close = difflib.get_close_matches(str(location[-1]), fields, n=1)
    return f"did you mean {close[0]}?" if close else f"remove it (known here: {', '.join(fields)})"
