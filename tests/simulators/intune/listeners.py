"""The sockets: one front listener for Entra and Graph, and one for every scale unit, so that a unit can go away."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from aiohttp import web

HOST = "127.0.0.1"


@dataclass
class Listener:
    """One listening socket of the application."""

    port: int
    site: web.BaseSite
    open: bool = True

    @property
    def origin(self) -> str:
        return f"https://{HOST}:{self.port}"


class Listeners:
    """Opens and closes sockets of one application; all speak TLS with the same certificate."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._runner: web.AppRunner | None = None
        self.units: dict[str, Listener] = {}

    def bind(self, port: int = 0) -> socket.socket:
        """A socket with its port, before there is an application to serve on it."""
        return socket.create_server((HOST, port))

    async def start(self, application: web.Application) -> None:
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()

    async def serve(self, bound: socket.socket) -> Listener:
        if self._runner is None:
            raise RuntimeError("not started")
        site = web.SockSite(self._runner, bound, ssl_context=self._context)
        await site.start()
        return Listener(bound.getsockname()[1], site)

    async def open_unit(self) -> str:
        """A new scale unit with a listener of its own; its name."""
        name = f"msuc{len(self.units) + 1:02}"
        self.units[name] = await self.serve(self.bind())
        return name

    async def close_unit(self, name: str) -> None:
        """Connections to it are refused from now on; those that are open end with their next request."""
        unit = self.units[name]
        if unit.open:
            unit.open = False
            await unit.site.stop()

    def unit_url(self, name: str) -> str:
        return f"{self.units[name].origin}/fef/{name}/"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
