"""So many tokens a minute by name, in all processes together, whatever the clock does."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.enrollment.limiter import TokenBuckets

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize("per_minute", [1, 3, 7, 60, 600, 10_000])
def test_a_burst_takes_a_minutes_tokens_and_no_more(per_minute: int) -> None:
    buckets = TokenBuckets()
    assert [buckets.take("mint", per_minute, NOON) for _ in range(per_minute)] == [None] * per_minute
    wait = buckets.take("mint", per_minute, NOON)
    assert wait == max(1, -(-60 // per_minute))


def test_a_token_comes_back_when_it_was_said_to() -> None:
    buckets = TokenBuckets()
    for _ in range(6):
        assert buckets.take("mint", 6, NOON) is None
    assert buckets.take("mint", 6, NOON) == 10
    assert buckets.take("mint", 6, after(9.9)) == 1
    assert buckets.take("mint", 6, after(10)) is None
    assert buckets.take("mint", 6, after(10)) == 10


def test_over_ten_minutes_no_more_than_a_burst_and_the_rate() -> None:
    buckets = TokenBuckets()
    taken = [second for second in range(601) if buckets.take("mint", 20, after(second)) is None]
    assert len(taken) == 20 + 10 * 20


def test_being_refused_costs_nothing() -> None:
    buckets = TokenBuckets()
    assert buckets.take("mint", 1, NOON) is None
    assert {buckets.take("mint", 1, after(second)) is None for second in range(60)} == {False}
    assert buckets.take("mint", 1, after(60)) is None


def test_names_have_buckets_of_their_own() -> None:
    buckets = TokenBuckets()
    assert buckets.take("jamf mint", 1, NOON) is None
    assert buckets.take("jamf mint", 1, NOON) is not None
    assert buckets.take("intune mint", 1, NOON) is None


def test_a_clock_set_back_locks_nobody_out_and_gives_nothing_away() -> None:
    buckets = TokenBuckets()
    for _ in range(6):
        buckets.take("mint", 6, NOON)
    assert buckets.take("mint", 6, after(-3600)) == 10
    assert buckets.take("mint", 6, after(-3600 + 10)) is None
    assert buckets.take("mint", 6, after(-3600 + 10)) == 10


def test_a_changed_number_a_minute_keeps_a_bucket_as_full_as_it_is() -> None:
    buckets = TokenBuckets()
    for _ in range(30):
        buckets.take("mint", 60, NOON)
    assert [buckets.take("mint", 2, NOON), buckets.take("mint", 2, NOON)] == [None, 30]


def test_processes_take_from_one_bucket() -> None:
    buckets = TokenBuckets()
    child = os.fork()
    if child == 0:
        for _ in range(4):
            buckets.take("mint", 5, NOON)
        os._exit(0)
    os.waitpid(child, 0)
    assert [buckets.take("mint", 5, NOON) for _ in range(2)] == [None, 12]


def test_with_every_row_taken_the_fullest_bucket_is_given_away() -> None:
    buckets = TokenBuckets(rows=8)
    for number in range(8):
        for _ in range(number + 1):
            assert buckets.take(f"name {number}", 10, NOON) is None
    assert buckets.take("one more", 1, NOON) is None
    assert buckets.take("one more", 1, NOON) is not None
    # The seven that had taken more still know it: the last has taken eight of its ten.
    assert [buckets.take("name 7", 10, NOON) for _ in range(3)] == [None, None, 6]
