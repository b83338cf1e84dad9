"""Health and metrics over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp
import pytest

from scep_server.admin import AdminSite
from scep_server.config import Address
from scep_server.metrics import Metrics
from scep_server.web import Limits, Listener, bind

Ask = Callable[..., Awaitable[tuple[int, str, str]]]


class Checks:
    """What /readyz asks; tests change it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.error: Exception | None = None
        self.hang = False

    async def __call__(self) -> Sequence[str]:
        if self.hang:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return self.problems


@pytest.fixture
def checks() -> Checks:
    return Checks()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def ask(checks: Checks, metrics: Metrics) -> AsyncIterator[Ask]:
    sockets = bind(Address("127.0.0.1", 0), "admin_listen")
    port = sockets[0].getsockname()[1]
    listener = Listener(AdminSite(metrics, checks, timeout=0.1), sockets, Limits())
    await listener.start()

    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def request(path: str, method: str = "GET") -> tuple[int, str, str]:
            async with session.request(method, path) as response:
                return response.status, await response.text(), response.headers["Content-Type"]

        yield request
    await listener.stop(0)


async def test_alive_even_when_not_ready(ask: Ask, checks: Checks) -> None:
    checks.problems = ["the database cannot be reached"]
    assert (await ask("/healthz"))[:2] == (200, "ok\n")
    assert (await ask("/readyz"))[:2] == (503, "the database cannot be reached\n")


async def test_ready(ask: Ask) -> None:
    assert (await ask("/readyz"))[:2] == (200, "ready\n")


async def test_late_and_failing_checks_are_not_ready_and_say_no_more_than_that(ask: Ask, checks: Checks) -> None:
    checks.error = RuntimeError("postgresql://user:secret@host")
    status, text, _ = await ask("/readyz")
    assert (status, "secret" in text, "RuntimeError" in text) == (503, False, True)
    checks.hang = True
    assert (await ask("/readyz"))[:2] == (503, "the readiness checks took longer than 0.1 s\n")


async def test_metrics_are_prometheus_text(ask: Ask, metrics: Metrics) -> None:
    metrics.requests.inc("PKIOperation", 200)
    status, text, content_type = await ask("/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'scep_server_requests_total{operation="PKIOperation",status="200"} 1.0\n' in text


async def test_nothing_else(ask: Ask) -> None:
    assert (await ask("/scep/jamf?operation=GetCACaps"))[0] == 404
    assert (await ask("/healthz", "POST"))[0] == 405
