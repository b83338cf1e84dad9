"""A server of worker processes for test_web_workers.py: says its port, and answers what it is told to.

worker_program.py WORKERS [refuse NUMBER]
"""

from __future__ import annotations

import asyncio
import os
import sys

from aiohttp import web

from scep_server.config import Address
from scep_server.errors import ConfigurationError
from scep_server.metrics import Metrics
from scep_server.web import Limits, Listener, RunningServer, bind, run

WORKERS = int(sys.argv[1])
REFUSING = int(sys.argv[3]) if sys.argv[2:3] == ["refuse"] else None
METRICS = Metrics(WORKERS)
SOCKETS = bind(Address("127.0.0.1", 0))
PORT = SOCKETS[0].getsockname()[1]


class Site:
    """Answers with the process id and what it knows."""

    def __init__(self) -> None:
        self.reloads = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.rel_url.raw_path:
            case "/slow":
                os.write(1, b"slow\n")
                await asyncio.sleep(0.5)
            case "/reloads":
                return web.Response(body=f"{os.getpid()} {self.reloads}".encode())
            case "/total":
                return web.Response(body=str(METRICS.requests.total("other", 200)).encode())
        return web.Response(body=str(os.getpid()).encode())


class Running:
    """One worker's server."""

    def __init__(self, site: Site, listener: Listener) -> None:
        self._site = site
        self._listener = listener

    def reload(self) -> None:
        self._site.reloads += 1

    async def stop(self, grace: float) -> None:
        await self._listener.stop(grace)
        os.write(1, b"stopped\n")


async def make_server(worker: int) -> RunningServer:
    if worker == REFUSING:
        raise ConfigurationError("server.listen: not today")
    METRICS.attach(worker)
    site = Site()
    listener = Listener(site, SOCKETS, Limits(), metrics=METRICS)
    await listener.start()
    return Running(site, listener)


try:
    run(make_server, WORKERS, sockets=SOCKETS, on_ready=lambda: print("ready", PORT, os.getpid(), flush=True))
except ConfigurationError as error:
    print("refused", error, flush=True)
    sys.exit(3)
print("ended", flush=True)
