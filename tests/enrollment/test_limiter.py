"""N18: five wrong challenges per source and minute, counted together by all workers."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.enrollment.limiter import TRIES, SourceLimiter

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def guess(limiter: SourceLimiter, source: str, now: datetime) -> int | None:
    """What the enrolment service does with a wrong challenge; None when it was answered."""
    retry_after = limiter.retry_after(source, now)
    if retry_after is None:
        limiter.count(source, now)
    return retry_after


def test_five_wrong_tries_are_answered_and_the_sixth_is_not() -> None:
    limiter = SourceLimiter()
    answers = [guess(limiter, "192.0.2.1", NOON + timedelta(seconds=second)) for second in range(6)]
    assert answers == [None] * TRIES + [55]
    assert guess(limiter, "192.0.2.2", NOON) is None


def test_tries_come_back_one_by_one_as_the_minute_passes() -> None:
    limiter = SourceLimiter()
    for second in range(TRIES):
        guess(limiter, "192.0.2.1", NOON + timedelta(seconds=second * 10))
    assert guess(limiter, "192.0.2.1", NOON + timedelta(seconds=59)) == 1
    assert guess(limiter, "192.0.2.1", NOON + timedelta(seconds=60)) is None
    assert guess(limiter, "192.0.2.1", NOON + timedelta(seconds=61)) == 9


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("not an address", "not an address either", False),
    ],
)
def test_who_counts_as_one_source(first: str, second: str, shared: bool) -> None:
    limiter = SourceLimiter()
    for _ in range(TRIES):
        guess(limiter, first, NOON)
    assert (limiter.retry_after(second, NOON) is not None) is shared


def test_a_clock_set_back_blocks_nobody() -> None:
    limiter = SourceLimiter()
    for _ in range(TRIES):
        guess(limiter, "192.0.2.1", NOON)
    earlier = NOON - timedelta(hours=1)
    answers = [guess(limiter, "192.0.2.1", earlier) for _ in range(TRIES + 1)]
    assert answers == [None] * TRIES + [60]


def test_a_full_table_gives_away_the_quietest_row_and_does_not_grow() -> None:
    limiter = SourceLimiter(rows=8)
    for _ in range(TRIES):
        limiter.count("192.0.2.1", NOON + timedelta(seconds=30))
    for number in range(100):
        limiter.count(f"198.51.100.{number}", NOON)
    assert limiter.retry_after("192.0.2.1", NOON + timedelta(seconds=31)) == 59


def test_forked_workers_count_together() -> None:
    limiter = SourceLimiter()
    for _ in range(TRIES):
        child = os.fork()
        if child == 0:
            limiter.count("192.0.2.1", NOON)
            os._exit(0)
        os.waitpid(child, 0)
    assert limiter.retry_after("192.0.2.1", NOON) == 60
