"""A plugin that keeps the contract, small enough that each wrong one differs from it in one method."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from scep_server.errors import ConfigurationError, Reason, Refusal
from scep_server.interfaces import Host, KeyFile
from scep_server.types import (
    Attempt,
    Certificate,
    Grant,
    HttpAnswer,
    HttpRequest,
    OptionField,
    PasswordHint,
    PluginJob,
    Route,
)


class RightPlugin:
    """One secret; a page that says hello; a job that counts."""

    def __init__(self, host: Host, secret: str) -> None:
        self.host = host
        self.secret = secret

    async def redeem(self, attempt: Attempt) -> Grant:
        offered = attempt.request.challenge or ""
        if not self.is_right(offered):
            raise Refusal(Reason.CHALLENGE, "wrong challenge")
        return Grant(consumes=(self.mac(offered),))

    def is_right(self, offered: str) -> bool:
        return hmac.compare_digest(offered.encode(), self.secret.encode())

    def mac(self, offered: str) -> bytes:
        return self.host.keys.mac(offered.encode(), f"right:{self.host.integration}")

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        pass

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        pass

    async def reveal(self, hint: PasswordHint) -> Sequence[bytes]:
        return (self.secret.encode(),)

    def routes(self) -> Mapping[str, Route]:
        return {"/scep/{integration}/hello": self.hello}

    async def hello(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer(200, b"hello")

    def jobs(self) -> Sequence[PluginJob]:
        return (PluginJob("count", 60.0, self.count),)

    async def count(self) -> None:
        self.host.count("ran")


class RightFactory:
    """Settings: {"secret": encrypted}."""

    fields: Sequence[OptionField] = (OptionField("secret", "generated when left out", secret=True),)
    counters: Mapping[str, str] = {"ran": "runs of the job"}
    addresses: Mapping[str, str] = {"hello_url": "/scep/{integration}/hello"}
    plugin: type[RightPlugin] = RightPlugin

    def create(
        self, integration: str, options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        unknown = sorted(set(options) - {"secret"})
        if unknown:
            raise ConfigurationError(f"there is no setting {', '.join(unknown)}; there is: secret")
        secret = options.get("secret") or secrets.token_hex(16)
        if not secret.isalnum():
            raise ConfigurationError("the secret must be letters and digits")
        return {"secret": self.kept(secret, integration, keys)}, {"challenge": secret}

    def kept(self, secret: str, integration: str, keys: KeyFile) -> str:
        return keys.encrypt(secret.encode(), f"right:{integration}")

    def rotate(
        self, integration: str, settings: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        given = {name: text for name, text in options.items() if name != "drop_old"}
        if given.pop("keep_secret", "") == "yes":
            if given:
                raise ConfigurationError("there is no setting beside the secret")
            return settings, {}
        return self.create(integration, given, keys)

    def shown(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Mapping[str, str]:
        return {"challenge": self.secret(integration, settings, keys)}

    def secret(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> str:
        return keys.decrypt(settings["secret"], f"right:{integration}").decode()

    def load(self, integration: str, settings: Mapping[str, Any], host: Host) -> RightPlugin:
        return self.plugin(host, self.secret(integration, settings, host.keys))
