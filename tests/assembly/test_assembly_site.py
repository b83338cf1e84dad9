"""What one broken or deleted integration may keep an operator from: its own requests, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Sequence

import pytest

from scep_server.assembly.site import Site, opened
from scep_server.config import Settings
from scep_server.errors import ConfigurationError, Fault
from scep_server.types import EntryState
from tests.e2e.identities import Device, rsa_key
from tests.enrollment.conftest import Walk, made_data, settings, walk

__all__ = ["made_data", "settings", "walk"]


async def one_pending(walk: Walk) -> int:
    await walk.site.integrations.set("default", {"approval": "manual"})
    walk.site.activate()
    assert (await walk.send(walk.request(Device.named("waits", rsa_key(1)), "t-1"))).status == "PENDING"
    (entry,) = walk.site.ledger.entries()
    return entry.id


async def break_integration(site: Site, name: str) -> None:
    """As a restored key file of another ledger would: no secret of it opens."""
    before = site.integrations.show(name)
    broken = dataclasses.replace(before, settings={"secrets": []}, version=before.version + 1)
    await site.ledger.put_integration(broken, before.version, ())


async def test_a_broken_integration_does_not_hold_up_the_others(walk: Walk) -> None:
    entry_id = await one_pending(walk)
    await walk.site.integrations.add("other", "static", {}, {})
    await break_integration(walk.site, "other")
    await walk.site.reconcile()
    assert (await walk.site.approve(entry_id)).state is EntryState.ISSUED


async def test_a_request_can_be_rejected_whatever_its_integration(walk: Walk) -> None:
    entry_id = await one_pending(walk)
    await break_integration(walk.site, "default")
    assert (await walk.site.reject(entry_id)).state is EntryState.FAILED


async def test_nothing_begins_for_an_integration_that_cannot_be_loaded(walk: Walk) -> None:
    entry_id = await one_pending(walk)
    await break_integration(walk.site, "default")
    with pytest.raises(Fault):
        await walk.site.approve(entry_id)
    assert [entry.state for entry in walk.site.ledger.entries()] == [EntryState.PENDING]


async def test_a_request_of_a_deleted_integration_is_told_with_what_to_do(walk: Walk) -> None:
    entry_id = await one_pending(walk)
    await walk.site.integrations.delete("default")
    with pytest.raises(ConfigurationError, match="reject"):
        await walk.site.approve(entry_id)
    assert (await walk.site.reject(entry_id)).state is EntryState.FAILED


async def test_what_keeps_an_integration_from_serving_is_a_finding(walk: Walk) -> None:
    await break_integration(walk.site, "default")
    await walk.site.ledger.put_integration(
        dataclasses.replace(walk.site.integrations.show("default"), enabled=False, version=3), 2, ()
    )
    switched, settings = await walk.site.check("default")
    assert (switched.passed, "--enable" in switched.remedy) == (False, True)
    assert (settings.passed, "no challenge secret" in settings.text) == (False, True)
    assert "integration set default" in settings.remedy


async def test_ending_the_older_secret_is_on_record(walk: Walk) -> None:
    await walk.site.integrations.rotate("default", {})
    await walk.site.integrations.set("default", {}, drop_old=True)
    last = [json.loads(row.body) for row in walk.site.ledger.events()][-1]
    assert (last["kind"], last["detail"]["drop_old"]) == ("integration.changed", True)
    assert list(walk.site.integrations.reveal("default")) == ["challenge"]


async def test_reconciling_reads_the_ledger_off_the_event_loop(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database server that does not answer must not stop GetCACaps."""
    readers: list[str] = []

    def noting(read: Callable[[], Sequence[object]]) -> Callable[[], Sequence[object]]:
        def noted() -> Sequence[object]:
            readers.append(threading.current_thread().name)
            return read()

        return noted

    for name in ("integrations", "unfinished"):
        monkeypatch.setattr(walk.site.ledger, name, noting(getattr(walk.site.ledger, name)))
    await walk.site.reconcile()
    assert len(readers) == 2
    assert threading.main_thread().name not in readers


async def test_integrations_share_the_places_for_who_asks_elsewhere(settings: Settings) -> None:
    server = settings.server.model_copy(update={"max_in_flight": 8})
    async with opened(settings.model_copy(update={"server": server})) as site:
        await site.integrations.add("other", "static", {}, {})
        site.activate()
        guards = [site.plugin(name) for name in ("default", "other")]
        assert {(guard._all.own, guard._all.all) for guard in guards} == {(4, 6)}
        assert guards[0]._all is guards[1]._all
