"""`scep-server reconcile`: finish or close what an interruption left half done; serving does the same at its start."""

from __future__ import annotations

import asyncio
import dataclasses

from scep_server.cli import output
from scep_server.cli.options import Config, Data, Json, settings_of


def reconcile(data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Finish or close entries that an interruption left half done. Safe beside running servers."""
    from scep_server.assembly.site import opened  # noqa: PLC0415 - see options.settings_of

    settings = settings_of(data, config)

    async def run() -> None:
        async with opened(settings) as site:
            done = dataclasses.asdict(await site.reconcile())
        if as_json:
            output.json_line(done)
        else:
            print(", ".join(f"{name} {number}" for name, number in done.items()))

    asyncio.run(run())
