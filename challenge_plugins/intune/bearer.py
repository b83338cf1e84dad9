"""Requests to Graph and Intune under an access token of the app."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from challenge_plugins.intune.faults import ServiceFault
from challenge_plugins.intune.reading import json_object, retry_after, text_of
from challenge_plugins.intune.tokens import Tokens
from scep_server.interfaces import Outbound
from scep_server.types import HttpAnswer


class BearerRequests:
    """Sends a request with a token and a new client-request-id, and reads the object that comes back."""

    def __init__(self, outbound: Outbound, tokens: Tokens, clock: Callable[[], datetime], seconds: float) -> None:
        self._outbound = outbound
        self._tokens = tokens
        self._clock = clock
        self._seconds = seconds

    async def send(
        self,
        method: str,
        url: str,
        scope: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = 1 << 20,
    ) -> Mapping[str, Any]:
        """The JSON object of a 200, its keys in lower case. A 401 is tried once more with a new token: whoever refused
        it did nothing. ServiceFault for every other answer, EntraFault, OutboundFault. what: names the call in faults.
        """
        token = await self._tokens.get(scope)
        answer = await self._once(method, url, token, headers, body, max_bytes)
        if answer.status == 401:
            self._tokens.drop(token)
            token = await self._tokens.get(scope)
            answer = await self._once(method, url, token, headers, body, max_bytes)
        if answer.status in {401, 403}:
            # A token minted before its role was granted lacks it for its whole life.
            self._tokens.drop(token)
        return self._read(answer, what)

    async def _once(
        self, method: str, url: str, token: str, headers: Mapping[str, str] | None, body: bytes | None, max_bytes: int
    ) -> HttpAnswer:
        ours = {"Authorization": f"Bearer {token}", "client-request-id": str(uuid.uuid4())}
        return await self._outbound.request(
            method, url, headers={**ours, **(headers or {})}, body=body, timeout=self._seconds, max_bytes=max_bytes
        )

    def _read(self, answer: HttpAnswer, what: str) -> Mapping[str, Any]:
        read = json_object(answer.body)
        if answer.status != 200:
            error = (read or {}).get("error")
            code = text_of(error.get("code"), 64) if isinstance(error, dict) else ""
            raise ServiceFault(
                f"{what} answered HTTP {answer.status}" + (f" {code}" if code else ""),
                answer.status,
                retry_after=retry_after(answer, self._clock),
            )
        if read is None:
            raise ServiceFault(f"{what} answered something that is no JSON object", answer.status)
        return read
