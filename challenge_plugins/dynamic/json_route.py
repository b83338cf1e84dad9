"""`POST /scep/{integration}/challenges`: challenges for programs, bound to names where the program knows them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import quote

from challenge_plugins.dynamic.credentials import Credentials, Way
from challenge_plugins.dynamic.door import Door, TurnedAway
from challenge_plugins.dynamic.json_body import read_object
from challenge_plugins.dynamic.json_order import minted_record, read_orders
from challenge_plugins.dynamic.minting import Mint
from challenge_plugins.dynamic.settings import MintRules
from scep_server.errors import ChallengesFull, ConfigurationError
from scep_server.interfaces import Host
from scep_server.types import HttpAnswer, HttpRequest

JSON: Final = "application/json"


class ChallengeOrders:
    """Answers one integration's route. What it decides is said in JSON, a no as {"error": text}; too many attempts and
    faults pass, and are a status, Retry-After and a line of text like everywhere (web.errors).
    """

    def __init__(
        self, host: Host, credentials: Credentials, rules: MintRules, mint: Mint, ways: Collection[Way]
    ) -> None:
        self._host = host
        self._rules = rules
        self._door = Door(host, credentials, rules, "POST", ways)
        self._mint = mint
        self._scep_url = f"{host.public_url}/scep/{quote(host.integration, safe='')}"

    async def answer(self, request: HttpRequest) -> HttpAnswer:
        """Mint what is asked for."""
        try:
            return await self._minted(request)
        except TurnedAway as turned:
            return _refusal(turned.status, turned.text.strip(), turned.headers)
        except ConfigurationError as error:
            return _refusal(400, str(error))
        except ChallengesFull:
            return _refusal(409, "as many challenges are unspent as the integration's ceiling allows")

    async def _minted(self, request: HttpRequest) -> HttpAnswer:
        credential = await self._door.admit(request)
        if not self._host.enabled():
            raise TurnedAway(403, "the integration is switched off")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise TurnedAway(415, f"the body must be {JSON}")
        try:
            asked = read_object(request.body)
        except ValueError as error:
            raise TurnedAway(400, str(error)) from None
        orders = read_orders(asked)
        if len(orders) > self._rules.per_minute:
            raise ConfigurationError(f"count must be at most {self._rules.per_minute}, which is what a minute allows")
        self._door.pace(credential, len(orders))
        minted = await self._mint.mint(orders, credential.label, request.source.address)
        return _json(201, minted_record(minted, self._scep_url))


def _refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> HttpAnswer:
    return _json(status, {"error": text}, headers)


def _json(status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(status, json.dumps(value).encode() + b"\n", JSON, headers or {})
