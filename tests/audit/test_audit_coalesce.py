"""Strangers' refusals are told, but cannot fill the disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from scep_server.audit import RefusalCoalescer
from scep_server.audit.coalesce import NAMED_TEXT
from scep_server.types import Event

START = datetime(2026, 3, 1, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def refusal(source: str, at: datetime = START) -> Event:
    return Event("request.refused", at, "jamf", source=source, detail={"reason": "challenge"})


def test_first_is_told_at_once_and_repeats_once() -> None:
    clock = Time()
    coalescer = RefusalCoalescer(clock)
    assert coalescer.refused(refusal("a"), "challenge") == [refusal("a")]
    for _ in range(500):
        assert coalescer.refused(refusal("a"), "challenge") == []
    assert coalescer.due() == []
    clock.passes(60)
    (told,) = coalescer.due()
    assert told.detail == {"reason": "challenge", "repeats": 500, "since": START.isoformat()}
    assert told.at == clock.now
    assert coalescer.due() == []
    assert len(coalescer.refused(refusal("a"), "challenge")) == 1


def test_sources_and_reasons_are_apart() -> None:
    coalescer = RefusalCoalescer(Time())
    assert len(coalescer.refused(refusal("a"), "challenge")) == 1
    assert len(coalescer.refused(refusal("b"), "challenge")) == 1
    assert len(coalescer.refused(refusal("a"), "signature")) == 1


def test_a_network_that_one_client_commands_is_one_source() -> None:
    coalescer = RefusalCoalescer(Time())
    told = [
        event for number in range(500) for event in coalescer.refused(refusal(f"2001:db8:0:1::{number:x}"), "challenge")
    ]
    assert [event.source for event in told] == ["2001:db8:0:1::0"]
    assert len(coalescer.refused(refusal("2001:db8:0:2::1"), "challenge")) == 1
    assert len(coalescer.refused(refusal("192.0.2.1"), "challenge")) == 1
    assert coalescer.refused(refusal("::ffff:192.0.2.1"), "challenge") == []
    assert len(coalescer.refused(refusal("192.0.2.2"), "challenge")) == 1
    (counted, mapped) = coalescer.flush()
    assert (counted.source, counted.detail["repeats"]) == ("2001:db8:0:1::0", 499)
    assert (mapped.source, mapped.detail["repeats"]) == ("192.0.2.1", 1)


def test_many_sources_share_one_bucket() -> None:
    clock = Time()
    coalescer = RefusalCoalescer(clock, max_keys=10)
    told = [event for number in range(5000) for event in coalescer.refused(refusal(str(number)), "challenge")]
    assert len(told) == 11
    assert told[-1].source == "others"
    clock.passes(61)
    (others,) = coalescer.due()
    assert (others.source, others.detail["repeats"]) == ("others", 4989)


def test_ended_windows_come_with_the_next_refusal() -> None:
    clock = Time()
    coalescer = RefusalCoalescer(clock)
    coalescer.refused(refusal("a"), "challenge")
    coalescer.refused(refusal("a"), "challenge")
    clock.passes(61)
    assert [event.source for event in coalescer.refused(refusal("b"), "challenge")] == ["a", "b"]


def test_flush_tells_what_is_counted() -> None:
    coalescer = RefusalCoalescer(Time())
    for source in ("a", "a", "b"):
        coalescer.refused(refusal(source), "challenge")
    assert [(event.source, event.detail["repeats"]) for event in coalescer.flush()] == [("a", 1)]
    assert coalescer.flush() == []


def test_repeats_name_the_first_few_others() -> None:
    """Many devices behind one proxy are one source; each may have a cause of its own."""
    clock = Time()
    coalescer = RefusalCoalescer(clock)

    def device(number: int) -> Event:
        detail = {"reason": "names", "transaction_id": f"t-{number}", "detail": "x" * 500}
        return Event("request.refused", clock(), "corp", source="192.0.2.1", detail=detail)

    for number in (0, 1, 1, 0, *range(2, 40)):
        coalescer.refused(device(number), "names")
    (told,) = coalescer.flush()
    assert told.detail["transaction_id"] == "t-0"
    assert told.detail["repeats"] == 41
    assert [one["transaction_id"] for one in told.detail["others"]] == [f"t-{number}" for number in range(1, 11)]
    assert {len(one["detail"]) for one in told.detail["others"]} == {NAMED_TEXT}
