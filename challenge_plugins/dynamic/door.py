"""Who may come in by a route: one method, a confidential connection, right credentials, within their rate."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final

from challenge_plugins.dynamic.authorization import presented
from challenge_plugins.dynamic.credentials import Credential, Credentials, Way
from challenge_plugins.dynamic.settings import MintRules
from scep_server.errors import TooManyAttempts
from scep_server.interfaces import Host
from scep_server.types import Event, HttpAnswer, HttpRequest

NOT_CONFIDENTIAL: Final = (
    "A password sent over plain HTTP can be read on the way, so none is asked for here. Use https, or come through a "
    "front end that the server trusts.\n"
)

TOLD_PER_MINUTE: Final = 60
"""Wrong logins of an integration that are on record one by one. All are counted; but who has many addresses, as anybody
with IPv6 has, shall not decide how much is written down.
"""
ELSEWHERE: Final = frozenset({"cross-site", "same-site"})
"""Sec-Fetch-Site of a browser that another site's page made ask, with the login that an operator gave this one."""


class TurnedAway(Exception):
    """A request that a door does not let in, and what HTTP says about it."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}

    def plain(self) -> HttpAnswer:
        """The answer to whoever reads text."""
        return HttpAnswer(self.status, self.text.encode(), headers=self.headers)


class Door:
    """Guards one route of an integration."""

    def __init__(
        self, host: Host, credentials: Credentials, rules: MintRules, method: str, ways: Collection[Way]
    ) -> None:
        self._host = host
        self._credentials = credentials
        self._per_minute = rules.per_minute
        self._method = method
        self._ways = ways
        self._header_names = tuple(one.name for one in credentials.known if one.way is Way.HEADER)

    async def admit(self, request: HttpRequest) -> Credential:
        """The credential the request shows. TurnedAway; TooManyAttempts after too many wrong ones (N18)."""
        if request.below not in ("", "/"):
            raise TurnedAway(404, "There is nothing here.\n")
        if request.method != self._method:
            raise TurnedAway(405, f"Only {self._method} is served here.\n", {"Allow": self._method})
        if request.headers.get("sec-fetch-site", "").strip().lower() in ELSEWHERE:
            raise TurnedAway(403, "Another site's page cannot ask for challenges.\n")
        if not request.confidential:
            raise TurnedAway(403, NOT_CONFIDENTIAL)
        shown = presented(request.headers, self._ways, self._header_names)
        if shown is None:
            raise self._unauthorized()
        credential = self._credentials.match(shown)
        if credential is None:
            await self._refuse_login(request)
            raise self._unauthorized()
        return credential

    def pace(self, credential: Credential, amount: int) -> None:
        """Take as many challenges from the credential's rate. TooManyAttempts with the wait for all of them."""
        try:
            for _ in range(amount):
                self._host.throttle(f"mint {credential.label}", self._per_minute)
        except TooManyAttempts as error:
            wait = math.ceil(amount * 60 / self._per_minute)
            raise TooManyAttempts(max(error.retry_after, wait)) from None

    async def _refuse_login(self, request: HttpRequest) -> None:
        self._host.count("login_refused")
        self._host.wrong_password(request.source)
        try:
            self._host.throttle("login_refused", TOLD_PER_MINUTE)
        except TooManyAttempts:
            return
        event = Event(
            "challenge.login_refused", self._host.clock(), self._host.integration, source=request.source.address
        )
        await self._host.record((event,))

    def _unauthorized(self) -> TurnedAway:
        realm = f'Basic realm="SCEP challenges of {self._host.integration}"'
        return TurnedAway(401, "The login of this integration is needed.\n", {"WWW-Authenticate": realm})
