"""Several tenants that ask for tokens at once do not take the threads that they themselves wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from challenge_plugins.intune.credential import ClientSecret
from challenge_plugins.intune.settings import checked
from challenge_plugins.intune.tokens import Tokens
from scep_server.errors import OutboundFault
from scep_server.testing import HouseUnderTest

THREADS = 2
CLIENT = "4c5ab5a6-0b33-4b1b-9f3e-4a0c0c1b2d3e"
NOBODY = "https://localhost:1/"
"""A name to be looked up, and nobody there: refused at once."""


async def test_more_tenants_than_threads(make_house: Callable[..., HouseUnderTest]) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    house = make_house()
    tenants = [
        {"tenant": f"tenant{number}.example", "client_id": CLIENT, "authority": NOBODY, "timeout_seconds": "3"}
        for number in range(THREADS + 1)
    ]
    tokens = [
        Tokens(checked(one), ClientSecret("secret"), house.outbound, house.clock, lambda: None) for one in tenants
    ]
    asked = (one.get("https://graph.example/.default") for one in tokens)
    ends = await asyncio.gather(*asked, return_exceptions=True)
    kinds = [end.kind if isinstance(end, OutboundFault) else str(end) for end in ends]
    assert kinds == ["refused"] * len(tenants), "nobody waited for a thread until the time was over"
