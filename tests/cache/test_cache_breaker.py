"""The circuit breaker by itself: when it opens, whom it lets through, when it closes."""

from __future__ import annotations

import pytest

from scep_server.cache import Breaker
from scep_server.cache.breaker import FAILURES, PROBE_SECONDS
from scep_server.errors import CacheUnavailable
from tests.cache.conftest import Hands


@pytest.fixture
def breaker(hands: Hands) -> Breaker:
    return Breaker(hands.monotonic)


def fail(breaker: Breaker, times: int = FAILURES) -> None:
    for _ in range(times):
        breaker.admit()
        breaker.failed("time-out")


def test_it_opens_after_several_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, FAILURES - 1)
    breaker.succeeded()
    fail(breaker, FAILURES - 1)
    assert not breaker.open
    fail(breaker, 1)
    assert breaker.open
    with pytest.raises(CacheUnavailable, match="5 times in a row") as caught:
        breaker.admit()
    assert caught.value.retry_after == PROBE_SECONDS
    assert caught.value.part == "cache"


def test_one_call_is_let_through_every_few_seconds(breaker: Breaker, hands: Hands) -> None:
    fail(breaker)
    for _ in range(3):
        hands.go_on(seconds=PROBE_SECONDS)
        breaker.admit()
        with pytest.raises(CacheUnavailable):
            breaker.admit()
        breaker.failed("time-out")
    hands.go_on(seconds=PROBE_SECONDS / 2)
    with pytest.raises(CacheUnavailable) as caught:
        breaker.admit()
    assert caught.value.retry_after == 1


def test_a_probe_that_nobody_waited_for_is_followed_by_another(breaker: Breaker, hands: Hands) -> None:
    fail(breaker)
    hands.go_on(seconds=PROBE_SECONDS)
    breaker.admit()
    hands.go_on(seconds=PROBE_SECONDS)
    breaker.admit()
    assert breaker.open


def test_success_closes_it(breaker: Breaker, hands: Hands) -> None:
    fail(breaker)
    hands.go_on(seconds=PROBE_SECONDS)
    breaker.admit()
    breaker.succeeded()
    assert not breaker.open
    fail(breaker, FAILURES - 1)
    breaker.admit()


def test_a_call_that_fails_late_does_not_hurry_the_probe(breaker: Breaker, hands: Hands) -> None:
    """Calls that were under way when it opened end one by one, each a little later."""
    fail(breaker)
    for _ in range(10):
        hands.go_on(seconds=PROBE_SECONDS / 2)
        breaker.failed("time-out")
        with pytest.raises(CacheUnavailable):
            breaker.admit()


def test_opening_and_closing_are_logged_once(breaker: Breaker, hands: Hands, caplog: pytest.LogCaptureFixture) -> None:
    fail(breaker)
    for _ in range(3):
        hands.go_on(seconds=PROBE_SECONDS)
        fail(breaker, 1)
    hands.go_on(seconds=PROBE_SECONDS)
    breaker.admit()
    breaker.succeeded()
    breaker.succeeded()
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert "does not answer: time-out" in texts[0]
    assert texts[1] == "Redis answers again"
