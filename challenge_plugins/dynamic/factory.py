"""Dynamic integrations: challenges from an NDES-style page and from JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from challenge_plugins.dynamic.credentials import Credentials, Presented, Way, new_login, new_secret
from challenge_plugins.dynamic.json_route import ChallengeOrders
from challenge_plugins.dynamic.one_time import OneTimeChallenge
from challenge_plugins.dynamic.one_time_factory import OneTimeFactory
from challenge_plugins.dynamic.page_route import ENCODINGS, ChallengePage
from challenge_plugins.dynamic.settings import MINT_SETTINGS, USER_NAME, MintRules, Setting, one_of, switch
from scep_server.interfaces import ChallengePlugin, Host
from scep_server.types import Route

SETTINGS: Final = (
    *MINT_SETTINGS,
    USER_NAME,
    Setting(
        "encoding",
        "of the page: utf-8, or utf-16le as Windows sends it, for clients that read nothing else",
        "utf-8",
        one_of(*ENCODINGS),
    ),
    Setting(
        "token", "on: a bearer token for the JSON address is made beside the login; off: none is taken", "off", switch
    ),
)


class DynamicChallenge(OneTimeChallenge):
    """The live plugin of one integration."""

    def __init__(self, host: Host, values: Mapping[str, Any], credentials: Credentials) -> None:
        rules = MintRules.of(values)
        super().__init__(host, rules, credentials)
        ways = {Way.BASIC, Way.BEARER} if values["token"] else {Way.BASIC}
        self._page = ChallengePage(host, credentials, rules, self.minter, values["encoding"])
        self._orders = ChallengeOrders(host, credentials, rules, self.minter, ways)

    def routes(self) -> Mapping[str, Route]:
        """The page and the JSON address."""
        return {
            "/scep/{integration}/mscep_admin": self._page.answer,
            "/scep/{integration}/challenges": self._orders.answer,
        }


class DynamicChallengeFactory(OneTimeFactory):
    """What the entry point names."""

    settings = SETTINGS
    with_secret = frozenset({"username", "token"})
    addresses: Mapping[str, str] = {
        "challenge_url": "/scep/{integration}/mscep_admin/",
        "json_url": "/scep/{integration}/challenges",
    }

    def new_ways(self, values: Mapping[str, Any]) -> Sequence[Presented]:
        """A login and, where asked for, a token."""
        login = new_login(values["username"])
        return [login, Presented(Way.BEARER, "", new_secret())] if values["token"] else [login]

    def plugin(self, host: Host, values: Mapping[str, Any], credentials: Credentials) -> ChallengePlugin:
        """The live plugin."""
        return DynamicChallenge(host, values, credentials)
