"""Requests to the routes of plugins that mint, and attempts with what they minted."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from scep_server.types import (
    Attempt,
    CertificationRequest,
    HttpAnswer,
    HttpRequest,
    IntegrationOptions,
    MessageType,
    Source,
)
from tests.plugins.conftest import HouseUnderTest

PAGE = "/scep/{integration}/mscep_admin"
ORDERS = "/scep/{integration}/challenges"
WEBHOOK = "/webhooks/jamf/{integration}"
SOURCE = Source("192.0.2.7")


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@dataclasses.dataclass
class Minting:
    """One integration of a plugin that mints, made as the CLI makes it."""

    house: HouseUnderTest
    plugin: str
    settings: Mapping[str, Any]
    shown: Mapping[str, str]
    name: str = "corp"
    options: IntegrationOptions = dataclasses.field(default_factory=IntegrationOptions)

    def __post_init__(self) -> None:
        self._created_at = self.house.clock()

    @property
    def login(self) -> dict[str, str]:
        return basic(self.shown["username"], self.shown["password"])

    def live(self, *, enabled: bool = True):
        """Made anew, as after a change; an integration goes on being as old as it is."""
        now = self.house.integration(self.plugin, self.settings, self.name, enabled=enabled)
        return self.house.house.load(dataclasses.replace(now, created_at=self._created_at, options=self.options))

    async def ask(
        self,
        path: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        below: str = "/",
        confidential: bool = True,
        enabled: bool = True,
        source: Source = SOURCE,
    ) -> HttpAnswer:
        route = self.live(enabled=enabled).route(path)
        assert route is not None
        headers = self.login if headers is None else headers
        return await route(HttpRequest(method, below, "", headers, body, source, confidential))

    async def order(self, asked: object, headers: Mapping[str, str] | None = None, **how: Any) -> HttpAnswer:
        """Challenges by JSON."""
        sent = {"content-type": "application/json", **(self.login if headers is None else headers)}
        return await self.ask(ORDERS, "POST", sent, json.dumps(asked).encode(), below="", **how)

    async def unspent(self) -> int:
        return await self.house.house.challenges.unspent(self.name)

    def attempt(self, challenge: str | None, transaction_id: str = "tid") -> Attempt:
        request = CertificationRequest(b"", b"", b"", b"", None, challenge, (), "")  # type: ignore[arg-type]
        return Attempt(self.name, transaction_id, MessageType.PKCS_REQ, request, SOURCE, self.house.clock())

    def audited(self, kind: str) -> list[dict[str, Any]]:
        """Recorded events of a kind, as they are stored."""
        events = [json.loads(row.body) for row in self.house.ledger.events()]
        return [event for event in events if event["kind"] == kind]
