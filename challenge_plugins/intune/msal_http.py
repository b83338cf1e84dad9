"""The HTTP client we give to msal: the house's, so that its trust store and proxy count, not certifi's.

msal is synchronous and runs on a thread; each of its requests is handed to the event loop that waits for it. What
went wrong is noted in the acquisition at hand, because msal's own errors drop it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from challenge_plugins.intune.faults import EntraFault
from challenge_plugins.intune.reading import json_object, retry_after, text_of
from scep_server.errors import OutboundFault, PluginFault
from scep_server.interfaces import Outbound
from scep_server.types import HttpAnswer

_CODE: Final = re.compile(r"AADSTS[0-9]{3,9}")
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass
class Acquisition:
    """One run of msal for one token."""

    loop: asyncio.AbstractEventLoop
    seconds: float
    """Limit of each of its requests."""
    problem: PluginFault | None = None
    """The last thing that went wrong."""


ACQUISITION: ContextVar[Acquisition] = ContextVar("ACQUISITION")
"""Set by whoever starts msal, and carried to its thread with the context."""


@dataclass
class MsalResponse:
    """What msal wants to see of an answer."""

    status_code: int
    text: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    def raise_for_status(self) -> None:
        """Called by msal for what it cannot use."""
        if self.status_code >= 400:
            raise EntraFault(f"Entra ID answered HTTP {self.status_code}")


class MsalHttp:
    """msal's HttpClient over Outbound."""

    def __init__(self, outbound: Outbound, clock: Callable[[], datetime]) -> None:
        self._outbound = outbound
        self._clock = clock

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> MsalResponse:
        """On msal's thread."""
        return self._send("GET", url, params, headers, None)

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> MsalResponse:
        """On msal's thread; data is a form."""
        form = data if isinstance(data, str) else urlencode(data or {})
        return self._send("POST", url, params, {**(headers or {}), "Content-Type": _FORM}, form.encode())

    def close(self) -> None:
        """The house's client is not ours to close."""

    def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> MsalResponse:
        acquisition = ACQUISITION.get()
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params)
        asking = asyncio.run_coroutine_threadsafe(
            self._outbound.request(method, url, headers=headers, body=body, timeout=acquisition.seconds),
            acquisition.loop,
        )
        try:
            # The margin is for a loop that has ended: nobody would ever answer.
            answer = asking.result(acquisition.seconds + 1)
        except OutboundFault as fault:
            acquisition.problem = fault
            raise
        except TimeoutError:
            asking.cancel()
            raise
        read = json_object(answer.body)
        if answer.status != 200 or read is None:
            acquisition.problem = self._problem(answer, read or {})
        # msal logs an answer that is no JSON in full, so it is not given one.
        text = answer.body.decode("utf-8-sig") if read is not None else json.dumps({})
        return MsalResponse(answer.status, text, answer.headers)

    def _problem(self, answer: HttpAnswer, read: Mapping[str, Any]) -> EntraFault:
        found = _CODE.search(text_of(read.get("error_description"), 200))
        said = "something that is no JSON" if answer.status == 200 else f"HTTP {answer.status}"
        return EntraFault(
            f"Entra ID answered {said}", found[0] if found else "", retry_after=retry_after(answer, self._clock)
        )
