"""Jamf Pro integrations: challenges by the `SCEPChallenge` webhook."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from challenge_plugins.dynamic.credentials import Credentials, Presented, Way, new_login, new_secret
from challenge_plugins.dynamic.one_time import OneTimeChallenge
from challenge_plugins.dynamic.one_time_factory import OneTimeFactory
from challenge_plugins.dynamic.settings import MINT_SETTINGS, USER_NAME, MintRules, Setting, one_of, switch
from challenge_plugins.jamf.webhook_route import ScepChallengeWebhook
from scep_server.interfaces import ChallengePlugin, Host
from scep_server.types import Route

_HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_TAKEN: Final = frozenset(
    {"authorization", "host", "connection", "cookie", "date", "expect", "origin", "referer"}
    | {"transfer-encoding", "te", "trailer", "upgrade", "keep-alive", "user-agent", "cache-control", "range"}
    | {"forwarded", "via", "x-real-ip"}
)
"""Headers that say something else already, or that a front end sets or takes away."""
_TAKEN_FAMILIES: Final = ("accept", "content-", "if-", "proxy-", "sec-", "x-forwarded-")


def header_name(text: str) -> str:
    """Reader of the setting `header_name`."""
    if not _HEADER_NAME.fullmatch(text) or text.lower() in _TAKEN or text.lower().startswith(_TAKEN_FAMILIES):
        raise ValueError("up to 64 letters, digits and dashes, and no header that has a meaning already")
    return text


SETTINGS: Final = (
    *MINT_SETTINGS,
    Setting("auth", "how Jamf Pro logs in: basic, or header (one shared header)", "basic", one_of("basic", "header")),
    USER_NAME,
    Setting("header_name", "name of the shared header", "X-SCEP-Webhook-Key", header_name),
    Setting(
        "bind_device",
        "on: a challenge admits only the device the event names, so its UDID, serial number or management id has to "
        "stand in the subject or in an alternative name; off: any device",
        "on",
        switch,
    ),
)


class JamfChallenge(OneTimeChallenge):
    """The live plugin of one integration."""

    def __init__(self, host: Host, values: Mapping[str, Any], credentials: Credentials) -> None:
        rules = MintRules.of(values)
        super().__init__(host, rules, credentials)
        self._webhook = ScepChallengeWebhook(host, credentials, rules, self.minter, bind_device=values["bind_device"])

    def routes(self) -> Mapping[str, Route]:
        """The webhook."""
        return {"/webhooks/jamf/{integration}": self._webhook.answer}


class JamfFactory(OneTimeFactory):
    """What the entry point names."""

    settings = SETTINGS
    with_secret = frozenset({"auth", "username", "header_name"})
    addresses: Mapping[str, str] = {"webhook_url": "/webhooks/jamf/{integration}"}

    def new_ways(self, values: Mapping[str, Any]) -> Sequence[Presented]:
        """A login or a shared header."""
        if values["auth"] == Way.HEADER:
            return [Presented(Way.HEADER, values["header_name"], new_secret())]
        return [new_login(values["username"])]

    def plugin(self, host: Host, values: Mapping[str, Any], credentials: Credentials) -> ChallengePlugin:
        """The live plugin."""
        return JamfChallenge(host, values, credentials)
