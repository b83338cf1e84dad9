"""The settings of a webhook: which there are, which values are safe, and how they are kept."""

from __future__ import annotations

import ipaddress
import re
import secrets
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from scep_server.errors import ConfigurationError
from scep_server.interfaces import KeyFile
from scep_server.types import OptionField

MAX_TIMEOUT: Final = 18
"""Seconds; the house cuts a plugin off at 20, and our own fault says more than its."""
MAX_RETRIES: Final = 3
MIN_SECRET: Final = 24
MAX_SECRET: Final = 255
GENERATED_BYTES: Final = 32
KEPT: Final = 2
NO_AUTHORIZATION: Final = "none"
"""Takes a header back. A word, since commands take no empty secret."""
_VISIBLE: Final = re.compile(r"[!-~]+")
_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")

FIELDS: Final = (
    OptionField("url", "where to ask: an https:// address; http:// only on this machine", required=True),
    OptionField(
        "signing_secret", f"key of the signatures, {MIN_SECRET} visible characters or more; or generated", secret=True
    ),
    OptionField("authorization", "value of an Authorization header to send; `none` to send none again", secret=True),
    OptionField("timeout_seconds", f"seconds for one question with all its tries, 1 to {MAX_TIMEOUT}", default="10"),
    OptionField("retries", f"more tries where no answer or a 5xx came, 0 to {MAX_RETRIES}", default="1"),
    OptionField(
        "send_challenge", "on|off: put the challenge, and the request that holds it, into the question", default="on"
    ),
    OptionField("notify", "on|off: tell the receiver what was issued and what failed", default="on"),
    OptionField("notify_url", "where to tell it; the address of `url` unless given"),
    OptionField("require_signed_answer", "on|off: take signed answers only", default="off"),
)
KNOWN: Final = frozenset(one.name for one in FIELDS)
_HOUSE: Final = frozenset({"keep_secret", "drop_old"})
"""How a rotation goes: `keep_secret` makes no new signing secret, `drop_old` ends the one before at once."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """What the live plugin works with."""

    url: str
    secrets: tuple[bytes, ...] = field(repr=False)
    """One or two signing keys, the newest first."""
    authorization: str | None = field(repr=False)
    timeout: float
    """Seconds over all tries of one question."""
    retries: int
    send_challenge: bool
    notify: bool
    notify_url: str
    require_signed_answer: bool


def changed(
    integration: str, stored: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile
) -> tuple[dict[str, Any], dict[str, str]]:
    """Stored settings with the options applied, and what to show once. ConfigurationError names key and remedy."""
    unknown = sorted(set(options) - KNOWN - _HOUSE)
    if unknown:
        raise ConfigurationError(
            f"a webhook challenge has no setting named {', '.join(unknown)}; there are: {', '.join(sorted(KNOWN))}"
        )
    settings = dict(stored)
    for name in KNOWN & set(options) - {"signing_secret", "authorization"}:
        settings[name] = _CHECKS[name](name, options[name])
    if options.get("notify_url") == "":
        del settings["notify_url"]
    if "authorization" in options:
        settings.pop("authorization", None)
        if options["authorization"] != NO_AUTHORIZATION:
            checked = _header_value("authorization", options["authorization"])
            settings["authorization"] = keys.encrypt(checked.encode(), _context(integration, "authorization"))
    shown = _with_secret(integration, settings, options, keys)
    if "url" not in settings:
        raise ConfigurationError("a webhook challenge needs `--setting url=https://…`: where shall it ask?")
    return settings, shown


def written(stored: Mapping[str, Any]) -> dict[str, str]:
    """Stored settings that are no secret, as `--setting` takes them, defaults for the rest."""
    told: dict[str, str] = {}
    for one in FIELDS:
        value = stored.get(one.name, one.default)
        if not one.secret and value != "":
            told[one.name] = ("off", "on")[value] if isinstance(value, bool) else str(value)
    if "url" in told:
        told.setdefault("notify_url", told["url"])
    return told


def read(integration: str, stored: Mapping[str, Any], keys: KeyFile) -> WebhookSettings:
    """ConfigurationError when there is nobody to ask, or no key to sign with (N3)."""
    signing = signing_secrets(integration, stored, keys)
    if not signing or not stored.get("url"):
        missing = "signing secret" if stored.get("url") else "url"
        raise ConfigurationError(
            f"integration {integration} has no {missing}, so its receiver cannot be asked; "
            f"run `scep-server integration rotate-secret {integration} --setting url=https://…`"
        )
    sealed = stored.get("authorization")
    url = _url("url", str(stored["url"]))
    return WebhookSettings(
        url=url,
        secrets=signing,
        authorization=keys.decrypt(sealed, _context(integration, "authorization")).decode() if sealed else None,
        timeout=float(stored.get("timeout_seconds", 10)),
        retries=int(stored.get("retries", 1)),
        send_challenge=bool(stored.get("send_challenge", True)),
        notify=bool(stored.get("notify", True)),
        notify_url=_url("notify_url", str(stored.get("notify_url") or url)),
        require_signed_answer=bool(stored.get("require_signed_answer", False)),
    )


def signing_secrets(integration: str, stored: Mapping[str, Any], keys: KeyFile) -> tuple[bytes, ...]:
    """The valid signing keys, the newest first."""
    records: Sequence[Mapping[str, str]] = stored.get("signing_secrets", ())
    return tuple(keys.decrypt(record["secret"], _context(integration, "signing")) for record in records[:KEPT])


def _with_secret(
    integration: str, settings: dict[str, Any], options: Mapping[str, str], keys: KeyFile
) -> dict[str, str]:
    """Put a new signing secret in front, or keep the one there is. Shown only when we made it."""
    kept = list(settings.get("signing_secrets", ()))
    dropping = _switch("drop_old", options.get("drop_old", "no")) if "drop_old" in options else False
    given = options.get("signing_secret")
    if kept and given is None and options.get("keep_secret") == "yes":
        settings["signing_secrets"] = kept[:1] if dropping else kept
        return {}
    secret = _signing_secret(given) if given is not None else secrets.token_hex(GENERATED_BYTES)
    record = {
        "secret": keys.encrypt(secret.encode(), _context(integration, "signing")),
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    settings["signing_secrets"] = [record, *([] if dropping else kept)][:KEPT]
    return {} if given is not None else {"signing_secret": secret}


def _signing_secret(value: str) -> str:
    if not MIN_SECRET <= len(value) <= MAX_SECRET or not _VISIBLE.fullmatch(value):
        raise ConfigurationError(
            f"signing_secret must have {MIN_SECRET} to {MAX_SECRET} visible ASCII characters without spaces; "
            "leave it out to have one generated"
        )
    return value


def _header_value(name: str, value: str) -> str:
    if len(value) > 4096 or not _HEADER_VALUE.fullmatch(value):
        raise ConfigurationError(f"{name} must be one line of visible ASCII, such as `Bearer …`, of 4096 at most")
    return value


def _url(name: str, value: str) -> str:
    """An address that we may send challenges to. Only the operator's settings ever name one (N20)."""
    try:
        parts = urllib.parse.urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urllib.parse.urlsplit("")
    if not host or port == 0 or not _VISIBLE.fullmatch(value) or parts.scheme not in {"https", "http"}:
        raise ConfigurationError(f"{name} must be an address such as https://mdm.example/scep-webhook")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(f"{name} must begin with https://: the question holds the device's challenge")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ConfigurationError(f"{name} must not hold a user name or a fragment; put a password into `authorization`")
    return value


def _optional_url(name: str, value: str) -> str:
    return _url(name, value) if value else ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _switch(name: str, value: str) -> bool:
    known = {"on": True, "off": False, "yes": True, "no": False}
    if value not in known:
        raise ConfigurationError(f"{name} must be on or off")
    return known[value]


def _seconds(name: str, value: str) -> int:
    return _number(name, value, 1, MAX_TIMEOUT)


def _tries(name: str, value: str) -> int:
    return _number(name, value, 0, MAX_RETRIES)


def _number(name: str, value: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", value, re.ASCII) or not least <= int(value) <= most:
        raise ConfigurationError(f"{name} must be a whole number from {least} to {most}")
    return int(value)


def _context(integration: str, purpose: str) -> str:
    return f"webhook:{integration}:{purpose}"


_CHECKS: Final = {
    "url": _url,
    "timeout_seconds": _seconds,
    "retries": _tries,
    "send_challenge": _switch,
    "notify": _switch,
    "notify_url": _optional_url,
    "require_signed_answer": _switch,
}
