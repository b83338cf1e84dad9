"""One call to one of Intune's two services, with everything that it needs, within one limit of time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from challenge_plugins.intune.bearer import BearerRequests
from challenge_plugins.intune.discovery import PKI_CONNECTOR, VALIDATION, Discovery
from challenge_plugins.intune.faults import ServiceFault
from challenge_plugins.intune.settings import IntuneSettings
from scep_server.errors import OutboundFault, PluginFault

API_VERSIONS: Final = {VALIDATION: "2018-02-20", PKI_CONNECTOR: "5019-05-05"}
"""Sent as a header. The second is Microsoft's, odd year and all."""
LOST: Final = frozenset({"name", "refused", "tls", "cut"})
"""Kinds of OutboundFault that an address shows whose service has moved away."""
GONE: Final = frozenset({404, 410})


class IntuneServices:
    """Posts JSON to a service, wherever the tenant's is.

    A POST is repeated in two cases only, once each: refused for its token (bearer.py), and failed at an address that
    is no longer the tenant's. Everything else is the caller's, or the device's, to repeat; all five calls may be.
    """

    def __init__(self, settings: IntuneSettings, requests: BearerRequests, discovery: Discovery) -> None:
        self._scope = settings.intune_scope
        self._seconds = settings.timeout_seconds
        self._requests = requests
        self._discovery = discovery

    async def post(self, service: str, path: str, body: Any, *, max_bytes: int = 1 << 20) -> Mapping[str, Any]:
        """The object that came back with HTTP 200, its keys in lower case. A Fault for everything else."""
        content = json.dumps(body).encode()
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(service, path, content, max_bytes)
        except TimeoutError as error:
            self._discovery.clear()
            raise PluginFault(f"Intune ({path}) did not answer within {self._seconds:g} s") from error

    async def _post(self, service: str, path: str, content: bytes, max_bytes: int) -> Mapping[str, Any]:
        uri = await self._discovery.uri(service)
        try:
            return await self._send(service, uri, path, content, max_bytes)
        except (OutboundFault, ServiceFault) as fault:
            if not _moved(fault):
                raise
            now = await self._discovery.uri(service)
            if now == uri:
                raise
        return await self._send(service, now, path, content, max_bytes)

    async def _send(self, service: str, uri: str, path: str, content: bytes, max_bytes: int) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/json", "api-version": API_VERSIONS[service]}
        try:
            return await self._requests.send(
                "POST",
                f"{uri}/{path}",
                self._scope,
                what=f"Intune ({path})",
                headers=headers,
                body=content,
                max_bytes=max_bytes,
            )
        except PluginFault:
            self._discovery.clear()
            raise


def _moved(fault: OutboundFault | ServiceFault) -> bool:
    return fault.status in GONE if isinstance(fault, ServiceFault) else fault.kind in LOST
