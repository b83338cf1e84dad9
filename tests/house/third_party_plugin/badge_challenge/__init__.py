"""A challenge is the number of a badge that is on the list. Everything a plugin needs is in this one file."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

from scep_server.errors import ConfigurationError, Reason, Refusal
from scep_server.interfaces import Host, KeyFile
from scep_server.types import Attempt, Certificate, Grant


class BadgeChallenge:
    """Judges by the list of badges of one integration."""

    def __init__(self, badges: list[str]) -> None:
        self._badges = badges

    async def redeem(self, attempt: Attempt) -> Grant:
        """A Grant for a badge on the list; each badge works once."""
        shown = attempt.request.challenge or ""
        if shown == "unreadable badge":
            raise RuntimeError("a stray exception of somebody else's code")
        matches = [hmac.compare_digest(shown.encode(), badge.encode()) for badge in self._badges]
        if True not in matches:
            raise Refusal(Reason.CHALLENGE, "badge is not on the list")
        return Grant(consumes=(hmac.digest(attempt.integration.encode(), shown.encode(), "sha256"),))

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Nothing to confirm."""

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Nobody to tell."""


class BadgeFactory:
    """Makes, shows and loads the list."""

    def create(
        self, integration: str, options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Takes `badges=1,2,3`; the list is stored encrypted."""
        badges = [badge for badge in options.get("badges", "").split(",") if badge]
        if not badges:
            raise ConfigurationError("badges is empty; give --setting badges=NUMBER,NUMBER")
        return {"badges": keys.encrypt(json.dumps(badges).encode(), f"{integration}/badges")}, {}

    def rotate(
        self, integration: str, settings: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """A new list replaces the old one."""
        return self.create(integration, options, keys)

    def shown(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Mapping[str, str]:
        """The list is not shown."""
        return {}

    def load(self, integration: str, settings: Mapping[str, Any], host: Host) -> BadgeChallenge:
        """The live plugin."""
        return BadgeChallenge(json.loads(host.keys.decrypt(settings["badges"], f"{integration}/badges")))


PLUGIN = BadgeFactory()
