"""A no is on record before a client hears it, whatever the ledger does meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.audit import RefusalCoalescer
from scep_server.enrollment.refusals import Limits, Refusals
from scep_server.errors import LedgerUnavailable, Reason, Refusal
from scep_server.metrics import Metrics
from scep_server.types import Event, Source

HERE = Source("192.0.2.7")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Book:
    """The ledger as far as refusals know it; `up` says whether it takes anything."""

    def __init__(self) -> None:
        self.up = True
        self.events: list[Event] = []

    async def record(self, events: Sequence[Event]) -> None:
        if not self.up:
            raise LedgerUnavailable("disk full")
        self.events += events


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def refusals(book: Book, clock: Clock) -> Refusals:
    return Refusals(book, RefusalCoalescer(clock), Limits(), Metrics(), clock)  # type: ignore[arg-type]


def no(*, security: bool = False) -> Refusal:
    return Refusal(Reason.RENEWAL, "because", security=security)


async def test_no_refusal_is_told_while_the_first_is_not_on_record(refusals: Refusals, book: Book) -> None:
    book.up = False
    for _ in range(3):
        with pytest.raises(LedgerUnavailable):
            await refusals.refuse("corp", HERE, no())
    book.up = True
    await refusals.refuse("corp", HERE, no())
    assert [event.kind for event in book.events] == ["request.refused"]


async def test_counted_repeats_outlive_a_ledger_that_is_down_when_their_window_ends(
    refusals: Refusals, book: Book, clock: Clock
) -> None:
    for _ in range(3):
        await refusals.refuse("corp", HERE, no())
    clock.now += timedelta(minutes=2)
    book.up = False
    with pytest.raises(LedgerUnavailable):
        await refusals.flush()
    book.up = True
    await refusals.flush()
    assert [event.detail.get("repeats") for event in book.events] == [None, 2]


async def test_a_security_event_is_no_repeat_of_a_harmless_one(refusals: Refusals, book: Book) -> None:
    await refusals.refuse("corp", HERE, no())
    await refusals.refuse("corp", HERE, no(security=True))
    assert [event.security for event in book.events] == [False, True]
