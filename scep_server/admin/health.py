"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from aiohttp import web

from scep_server.metrics import Metrics

log = logging.getLogger(__name__)

Readiness = Callable[[], Awaitable[Sequence[str]]]
"""Why no certificate can be issued now, one short sentence each; empty when one can."""

_HEADERS: Final[Mapping[str, str]] = {"Server": "scep-server", "Cache-Control": "no-store"}
_TEXT: Final = {**_HEADERS, "Content-Type": "text/plain"}
_METRICS: Final = {**_HEADERS, "Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


class AdminSite:
    """A handler for the admin listener.

    readiness: asked by /readyz; late or failing counts as not ready. timeout: seconds it may take.
    """

    def __init__(self, metrics: Metrics, readiness: Readiness, *, timeout: float = 5.0) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._timeout = timeout

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        path = request.rel_url.raw_path
        if path not in {"/healthz", "/readyz", "/metrics"}:
            return _text(404, ["There is nothing here."])
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={**_TEXT, "Allow": "GET, HEAD"})
        if path == "/healthz":
            return _text(200, ["ok"])
        if path == "/metrics":
            return web.Response(body=self._metrics.exposition(), headers=_METRICS)
        problems = await self._problems()
        return _text(503, problems) if problems else _text(200, ["ready"])

    async def _problems(self) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._readiness()
        except TimeoutError:
            return [f"the readiness checks took longer than {self._timeout:g} s"]
        except Exception as error:  # noqa: BLE001 - whatever it is, this server cannot be called ready
            log.warning("readiness check failed: %s", type(error).__name__)
            return [f"the readiness checks failed ({type(error).__name__})"]


def _text(status: int, lines: Sequence[str]) -> web.Response:
    return web.Response(status=status, body="".join(f"{line}\n" for line in lines).encode(), headers=_TEXT)
