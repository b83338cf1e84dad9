"""`python -m tests.simulators.intune --port 0 --state DIR`: serve until SIGTERM; one JSON line says where."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
from pathlib import Path

from aiohttp import web

from tests.simulators.intune.control import Control
from tests.simulators.intune.simulator import IntuneSimulator


async def serve(state: Path, port: int, control_port: int) -> None:
    """Start both endpoints, print where they are, wait for the signal."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with IntuneSimulator(state=state, port=port) as simulator:
        app = web.Application()
        app.router.add_post("/{verb}", Control(simulator).handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        bound = socket.create_server(("127.0.0.1", control_port))
        await web.SockSite(runner, bound).start()
        control = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        where = {"ca": str(state / "ca.pem"), "control": control, "pid": os.getpid()}
        print(json.dumps(simulator.described() | where), flush=True)
        await stop.wait()
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulators.intune", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of Entra and Graph; 0: any free one")
    parser.add_argument("--control-port", type=int, default=0, help="of the control endpoint; 0: any free one")
    parser.add_argument("--state", type=Path, required=True, help="folder for ca.pem and the server's key")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.state.resolve(), arguments.port, arguments.control_port))


if __name__ == "__main__":
    main()
