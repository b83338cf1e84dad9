"""A service that does not answer takes a few turns of a pass over unfinished entries, not one for each entry."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from scep_server import plugins
from scep_server.enrollment.reconcile import FAULTS, Reconciled, reconcile
from scep_server.enrollment.registry import activate
from scep_server.errors import Fault, PluginFault, Refusal
from scep_server.types import Attempt, Certificate, EntryState, Grant
from tests.e2e.identities import Device, rsa_key
from tests.enrollment.conftest import Walk

WAITING = FAULTS + 2


@dataclasses.dataclass
class Confirming:
    """Says yes, and confirms or does not answer."""

    answers: bool = False
    confirm_blocks_release: bool = True
    asked: int = 0
    told: int = 0

    async def redeem(self, attempt: Attempt) -> Grant:
        return Grant()

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        self.asked += 1
        if not self.answers:
            raise PluginFault("no answer")

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        self.told += 1


@pytest.fixture
async def service(walk: Walk) -> Confirming:
    """One that has left some certificates signed and unconfirmed."""
    made = Confirming()
    integration = walk.site.integrations.show("default")
    walk.site.registry.replace({"default": activate(integration, plugins.GuardedPlugin("confirming", made))})
    for number in range(WAITING):
        device = Device.named(f"device-{number}", rsa_key(1))
        with pytest.raises(Fault):
            await walk.send(walk.request(device, f"t-{number}"))
    made.asked = 0
    return made


async def one_pass(walk: Walk, after: timedelta = timedelta()) -> Reconciled:
    site, now = walk.site, datetime.now(UTC) + after
    return await reconcile(site.ledger, site.registry, site.issuing, site.stored, lambda: now)


async def test_a_service_that_does_not_answer_is_left_alone(walk: Walk, service: Confirming) -> None:
    assert (await one_pass(walk)).left == WAITING
    assert service.asked == FAULTS
    assert (await one_pass(walk)).left == WAITING
    assert service.asked == 2 * FAULTS, "and is asked again by the next pass"


async def test_one_that_answers_is_asked_about_all(walk: Walk, service: Confirming) -> None:
    service.answers = True
    assert (await one_pass(walk)).released == WAITING
    assert service.asked == WAITING


async def test_what_waited_too_long_is_withdrawn_whether_or_not_it_was_asked_about(
    walk: Walk, service: Confirming
) -> None:
    assert (await one_pass(walk, timedelta(hours=2))).withdrawn == WAITING
    assert {entry.state for entry in walk.site.ledger.entries()} == {EntryState.REVOKED}
    assert (service.asked, service.told) == (FAULTS, FAULTS - 1), "and it is not told where it does not answer"
