"""The settings of one Intune connection: which tenant and app, where Microsoft's services are, how patient we are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from scep_server.errors import ConfigurationError
from scep_server.types import OptionField

FIELDS: Final = (
    OptionField(
        "tenant",
        "Entra tenant: its GUID or one of its domains (Entra admin center, Overview)",
        required=True,
    ),
    OptionField("client_id", "Application (client) ID of the app registration, a GUID", required=True),
    OptionField("client_secret", "value of a client secret of that app", secret=True),
    OptionField("client_certificate", "instead of a secret: certificate and RSA private key, both PEM", secret=True),
    OptionField("authority", "Entra ID of this cloud", default="https://login.microsoftonline.com/"),
    OptionField("graph_url", "Microsoft Graph of this cloud", default="https://graph.microsoft.com/"),
    OptionField("graph_version", "version of Microsoft Graph", default="v1.0"),
    OptionField(
        "intune_scope_base",
        "Intune resource of this cloud; `/.default` is put behind it, so two slashes by default, as Microsoft's own",
        default="https://api.manage.microsoft.com/",
    ),
    OptionField("intune_app_id", "app id of Intune in Graph", default="0000000a-0000-0000-c000-000000000000"),
    OptionField("timeout_seconds", "limit over everything one call to Intune needs, 2 to 18", default="15"),
    OptionField("revocation", "carry out revocations that Intune asks for: on or off", default="on"),
    OptionField("revocation_poll_seconds", "from one look for them to the next, 30 to 86400", default="300"),
    OptionField(
        "issuer_name", "name of the issuing CA as Intune is told it; by default its subject, as in CN=Issuing CA,O=Corp"
    ),
    OptionField("ca_configuration", "name of this connection as Intune is told it; by default that of the integration"),
    OptionField("caller_info", "name and version of this server as Intune is told it; by default our own"),
)
SECRET: Final = "client_secret"  # noqa: S105 - the name of a setting
CERTIFICATE: Final = "client_certificate"
DEFAULTS: Final = {field.name: field.default for field in FIELDS}

_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DOMAIN: Final = re.compile(r"(?=.{4,253}\Z)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z][a-zA-Z0-9-]{1,62}")
_GRAPH_VERSION: Final = re.compile(r"v[0-9]+\.[0-9]+|beta")


@dataclass(frozen=True, slots=True)
class IntuneSettings:
    """Settings that were checked. URLs end in a slash, but for intune_scope_base, which is as it was given."""

    tenant: str
    client_id: str
    authority: str
    graph_url: str
    graph_version: str
    intune_scope_base: str
    intune_app_id: str
    timeout_seconds: float
    revocation: bool
    revocation_poll_seconds: float
    issuer_name: str
    """Empty: the issuing CA's subject."""
    ca_configuration: str
    """Empty: the integration's name."""
    caller_info: str

    @property
    def graph_scope(self) -> str:
        """Scope of a token for Graph."""
        return f"{self.graph_url}.default"

    @property
    def intune_scope(self) -> str:
        """Scope of a token for Intune; a wrong number of slashes gives AADSTS500011."""
        return f"{self.intune_scope_base}/.default"


def checked(options: Mapping[str, Any]) -> IntuneSettings:
    """Settings of an operator's texts, defaults for the rest. ConfigurationError names the setting and the remedy."""
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise ConfigurationError(
            f"an Intune challenge has no setting named {', '.join(unknown)}; it has {', '.join(DEFAULTS)}"
        )
    for field in FIELDS:
        if field.required and not options.get(field.name):
            raise ConfigurationError(f"{field.name} is missing: {field.text}; give --setting {field.name}=...")
    texts = {**DEFAULTS, **options}
    values = {name: check(name, str(texts[name]).strip()) for name, check in _CHECKS.items()}
    return IntuneSettings(**values)


def _tenant(name: str, text: str) -> str:
    if not _GUID.fullmatch(text) and not _DOMAIN.fullmatch(text):
        raise ConfigurationError(
            f"{name}: {text!r} is neither a tenant id (GUID) nor a domain like contoso.onmicrosoft.com"
        )
    return text.lower()


def _guid(name: str, text: str) -> str:
    if not _GUID.fullmatch(text):
        raise ConfigurationError(f"{name}: {text!r} is no GUID; copy the Application (client) ID, not the name")
    return text.lower()


def _https(name: str, text: str) -> str:
    wrong = ConfigurationError(f"{name}: {text!r} is no https:// address without user, query and fragment")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise wrong
    if any(character.isspace() or not character.isprintable() for character in text):
        raise wrong
    return text


def _base(name: str, text: str) -> str:
    return _https(name, text).rstrip("/") + "/"


def _graph_version(name: str, text: str) -> str:
    if not _GRAPH_VERSION.fullmatch(text):
        raise ConfigurationError(f"{name}: {text!r} is no version of Microsoft Graph; use v1.0 or beta")
    return text


def _seconds(least: float, most: float) -> Callable[[str, str], float]:
    def check(name: str, text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or not least <= float(text) <= most:
            raise ConfigurationError(f"{name}: {text!r} is no number of seconds from {least:g} to {most:g}")
        return float(text)

    return check


def _switch(name: str, text: str) -> bool:
    if text not in {"on", "off"}:
        raise ConfigurationError(f"{name}: {text!r} is neither on nor off")
    return text == "on"


def _text(name: str, text: str) -> str:
    if len(text) > 255 or not text.isprintable():
        raise ConfigurationError(f"{name}: at most 255 printable characters")
    return text


def _caller(name: str, text: str) -> str:
    return _text(name, text) or f"scep-server/{version('scep-server')}"


_CHECKS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "tenant": _tenant,
    "client_id": _guid,
    "authority": _base,
    "graph_url": _base,
    "graph_version": _graph_version,
    "intune_scope_base": _https,
    "intune_app_id": _guid,
    # The house gives a plugin 20 s for a call; ours must end before, so that its own words are what is told.
    "timeout_seconds": _seconds(2, 18),
    "revocation": _switch,
    "revocation_poll_seconds": _seconds(30, 86400),
    "issuer_name": _text,
    "ca_configuration": _text,
    "caller_info": _caller,
}
