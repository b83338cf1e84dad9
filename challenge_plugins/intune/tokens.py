"""Access tokens of the app, by client credentials through msal, in memory.

msal's traps, and what is done about them: it looks unknown authorities up at Microsoft (instance_discovery off) and
its region at a metadata address (region off); it trusts certifi and ignores the proxy settings (our own HTTP client);
its constructor already talks (made on the thread, when first needed); it keeps a 400 for 60 s (forgotten by check).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from challenge_plugins.intune.credential import Credential
from challenge_plugins.intune.faults import BrokenInstallation, EntraFault
from challenge_plugins.intune.msal_http import ACQUISITION, Acquisition, MsalHttp
from challenge_plugins.intune.settings import IntuneSettings
from challenge_plugins.intune.single_flight import SingleFlight
from scep_server.errors import PluginFault
from scep_server.interfaces import Outbound

MARGIN: Final = 300.0
"""Seconds before its end from which a token is not used any more; msal's own."""

_THREADS: Final = ThreadPoolExecutor(max_workers=16, thread_name_prefix="msal")
"""None of the event loop's own: msal's threads wait for requests, which need one of those to look a name up. A few
tenants at once would take them all, and then nothing that any of them waits for could happen.
"""

# It logs what it cannot read, and tracebacks of what we hand on as a Fault.
logging.getLogger("msal").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class _Held:
    text: str = field(repr=False)
    good_until: float
    """time.monotonic."""


class Tokens:
    """Tokens of one app of one tenant, one for each scope."""

    def __init__(
        self,
        settings: IntuneSettings,
        credential: Credential,
        outbound: Outbound,
        clock: Callable[[], datetime],
        acquired: Callable[[], None],
    ) -> None:
        """acquired: called for every token that Entra ID issued."""
        self._settings = settings
        self._credential = credential
        self._http = MsalHttp(outbound, clock)
        self._acquired = acquired
        self._held: dict[str, _Held] = {}
        self._acquisitions = SingleFlight[str]()
        self._asking = asyncio.Lock()
        self._application: Any = None
        self._problems: dict[str, PluginFault] = {}

    async def get(self, scope: str) -> str:
        """A token for this scope: the one that is held, or a new one. All who wait share one acquisition and its end.

        EntraFault when Entra ID refuses or makes no sense, OutboundFault when it cannot be reached, BrokenInstallation
        when nobody can ask it.
        """
        held = self._held.get(scope)
        if held is not None and time.monotonic() < held.good_until:
            return held.text
        return await self._acquisitions.run(scope, lambda: self._acquire(scope))

    def drop(self, rejected: str) -> None:
        """Forget a token that a service did not take. Another may have replaced it meanwhile: that one stays."""
        for scope, held in tuple(self._held.items()):
            if held.text == rejected:
                del self._held[scope]
                if self._application is not None:
                    self._application.remove_tokens_for_client()

    def forget(self) -> None:
        """Forget everything learned, refusals too: a role granted since is in new tokens only."""
        self._held.clear()
        self._acquisitions.forget()
        self._application = None
        self._problems.clear()

    async def _acquire(self, scope: str) -> str:
        acquisition = Acquisition(asyncio.get_running_loop(), self._settings.timeout_seconds)
        ACQUISITION.set(acquisition)
        async with self._asking:
            try:
                context = contextvars.copy_context()
                result = await acquisition.loop.run_in_executor(_THREADS, context.run, self._ask_msal, scope)
            except BrokenInstallation:
                raise
            except Exception as error:  # noqa: BLE001 - of any kind, and it may quote an answer
                raise self._why(scope, acquisition, type(error).__name__) from None
        token = result.get("access_token")
        if not isinstance(token, str) or not token:
            raise self._why(scope, acquisition, "no access_token")
        self._acquired()
        self._problems.pop(scope, None)
        if self._acquisitions.is_current(scope):
            self._held[scope] = _Held(token, time.monotonic() + float(result.get("expires_in", 0)) - MARGIN)
        return token

    def _ask_msal(self, scope: str) -> dict[str, Any]:
        msal = _msal()
        application = self._application
        if application is None:
            application = self._application = msal.ConfidentialClientApplication(
                self._settings.client_id,
                client_credential=self._credential.for_msal(),
                authority=f"{self._settings.authority}{self._settings.tenant}",
                instance_discovery=False,
                azure_region=msal.ClientApplication.DISABLE_MSAL_FORCE_REGION,
                http_client=self._http,
            )
        result: dict[str, Any] = application.acquire_token_for_client([scope]) or {}
        return result

    def _why(self, scope: str, acquisition: Acquisition, seen: str) -> PluginFault:
        # Where msal answers from what it remembers, nothing was asked, and the last problem is still the problem.
        unclear = EntraFault(f"Entra ID's answer cannot be used: {seen}")
        self._problems[scope] = acquisition.problem or self._problems.get(scope, unclear)
        return self._problems[scope]


def _msal() -> Any:
    """The library, loaded when it is first needed. BrokenInstallation when that fails, in whatever way."""
    try:
        import msal  # noqa: PLC0415 - 0.1 s and 8 MiB, for those who have an Intune connection
    except Exception as error:
        raise BrokenInstallation(error) from error
    return msal
