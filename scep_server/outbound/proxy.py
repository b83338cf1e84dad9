"""Through which proxy a host is reached: the operator's setting, or the environment's."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment
from urllib.request import proxy_bypass_environment as bypasses  # type: ignore[attr-defined]

from scep_server.config import OutboundSettings
from scep_server.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)
    """Value of Proxy-Authorization; empty for none."""

    @property
    def url(self) -> str:
        """Without credentials."""
        return f"http://{self}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ProxyChoice:
    """Chooses the proxy of each host. Reads settings, password file and environment once, when it is made.

    Raises ConfigurationError when one of them cannot be used.
    """

    def __init__(self, settings: OutboundSettings) -> None:
        self._environment = getproxies_environment()
        if settings.proxy == "none":
            self._proxy = None
        elif settings.proxy is not None:
            self._proxy = _read(settings.proxy, "outbound.proxy", _password(settings))
        elif "https" in self._environment:
            self._proxy = _read(self._environment["https"], "HTTPS_PROXY")
        else:
            self._proxy = None

    def of(self, host: str, port: int) -> Proxy | None:
        """The proxy for this host; None to connect directly, as NO_PROXY says for some."""
        asked = host if ":" in host else f"{host}:{port}"
        return None if self._proxy is None or bypasses(asked, self._environment) else self._proxy


def _read(text: str, origin: str, password: str | None = None) -> Proxy:
    """A proxy from its URL; the scheme may be left out, as environments have it. Errors never repeat the text."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or 80
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigurationError(f"{origin} is no proxy that can be used; write http://HOST:PORT")
    if password is None:
        password = unquote(parts.password or "")
    if not parts.username:
        return Proxy(parts.hostname, port)
    credentials = f"{unquote(parts.username)}:{password}".encode()
    return Proxy(parts.hostname, port, f"Basic {base64.b64encode(credentials).decode()}")


def _password(settings: OutboundSettings) -> str | None:
    if settings.proxy_password_file is None:
        return None
    try:
        return settings.proxy_password_file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"outbound.proxy_password_file: cannot read {settings.proxy_password_file} ({cause}); "
            "create it with the password alone, mode 0600"
        ) from None
