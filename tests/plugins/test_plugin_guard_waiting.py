"""A judge that hangs holds up its own integration's requests, not all that a process can work on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from scep_server.errors import PluginFault, Refusal
from scep_server.plugins import GuardedPlugin, Waiting
from scep_server.types import Attempt, Certificate, CertificationRequest, Grant, MessageType, Source

REQUEST = CertificationRequest(b"", b"", b"", b"", None, None, (), "")  # type: ignore[arg-type]
SIGNED = Certificate(b"", "issuer", 1, b"", datetime.now(UTC), datetime.now(UTC))
WAITING = Waiting().own
ATTEMPT = Attempt("corp", "tid", MessageType.PKCS_REQ, REQUEST, Source("192.0.2.1"), datetime.now(UTC))


class Elsewhere:
    """Asks a service, which answers when the test says so."""

    def __init__(self, *, judges_renewals: bool) -> None:
        self.judges_renewals = judges_renewals
        self.asked = asyncio.Semaphore(0)
        self.answers = asyncio.Event()

    async def redeem(self, attempt: Attempt) -> Grant:
        self.asked.release()
        await self.answers.wait()
        return Grant()

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Nobody waits."""

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Nobody is told."""


async def waiting(plugin: Elsewhere, guarded: GuardedPlugin, number: int) -> list[asyncio.Task[Grant]]:
    tasks = [asyncio.create_task(guarded.redeem(ATTEMPT)) for _ in range(number)]
    for _ in range(number):
        await plugin.asked.acquire()
    return tasks


async def test_so_many_wait_and_the_next_is_told_to_come_again() -> None:
    plugin = Elsewhere(judges_renewals=True)
    guarded = GuardedPlugin("elsewhere", plugin)
    tasks = await waiting(plugin, guarded, WAITING)
    with pytest.raises(PluginFault, match="wait") as fault:
        await guarded.redeem(ATTEMPT)
    assert plugin.asked.locked(), "it was not asked"
    assert fault.value.retry_after == 5
    with pytest.raises(PluginFault, match="wait"):
        await guarded.confirm(ATTEMPT, SIGNED)
    plugin.answers.set()
    assert await asyncio.gather(*tasks) == [Grant()] * WAITING
    assert await guarded.redeem(ATTEMPT) == Grant(), "and when they have their answers there is room"


async def test_those_who_gave_up_wait_no_more() -> None:
    plugin = Elsewhere(judges_renewals=True)
    guarded = GuardedPlugin("elsewhere", plugin)
    tasks = await waiting(plugin, guarded, WAITING)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    plugin.answers.set()
    assert await guarded.redeem(ATTEMPT) == Grant()


async def test_a_judge_that_asks_nobody_has_no_such_limit() -> None:
    plugin = Elsewhere(judges_renewals=False)
    guarded = GuardedPlugin("here", plugin)
    tasks = await waiting(plugin, guarded, 2 * WAITING)
    plugin.answers.set()
    assert len(await asyncio.gather(*tasks)) == 2 * WAITING


async def test_several_that_hang_leave_places_for_the_rest() -> None:
    """Tenants of one service hang together."""
    together = Waiting(places=8)
    services = [Elsewhere(judges_renewals=True) for _ in range(3)]
    guards = [GuardedPlugin(f"tenant-{number}", service, waiting=together) for number, service in enumerate(services)]
    tasks = await waiting(services[0], guards[0], 4) + await waiting(services[1], guards[1], 2)
    for guarded in guards:
        with pytest.raises(PluginFault, match="wait"):
            await guarded.redeem(ATTEMPT)
    here = Elsewhere(judges_renewals=False)
    tasks += await waiting(here, GuardedPlugin("here", here, waiting=together), 2)
    for service in (*services, here):
        service.answers.set()
    await asyncio.gather(*tasks)
    assert await guards[2].redeem(ATTEMPT) == Grant()


@pytest.mark.parametrize(("places", "own", "all_together"), [(1, 1, 1), (2, 1, 1), (8, 4, 6), (64, 32, 48)])
def test_half_of_the_places_are_for_one_and_three_quarters_for_all(places: int, own: int, all_together: int) -> None:
    made = Waiting(places)
    assert (made.own, made.all) == (own, all_together)
