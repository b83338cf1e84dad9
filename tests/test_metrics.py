"""Metrics add up over worker processes, survive a restarted one, and never grow a time series from input."""

from __future__ import annotations

import os
import threading

import pytest

from scep_server.errors import ConfigurationError, Reason
from scep_server.metrics import Metrics


def in_worker(metrics: Metrics, number: int, *, requests: int) -> None:
    """Fork, count, and end as a worker would."""
    child = os.fork()
    if child == 0:
        metrics.attach(number)
        for _ in range(requests):
            metrics.requests.inc("PKIOperation", 200)
            metrics.pki_operation_seconds.observe(0.003)
        metrics.connections.add(2)
        os._exit(0)
    os.waitpid(child, 0)


def sample(metrics: Metrics, line: str) -> float:
    """The value of one line of the exposition."""
    for found in metrics.exposition().decode().splitlines():
        if found.startswith(line + " "):
            return float(found.rpartition(" ")[2])
    raise KeyError(line)


def test_workers_add_up_and_a_restarted_worker_goes_on() -> None:
    metrics = Metrics(workers=2)
    in_worker(metrics, 0, requests=3)
    in_worker(metrics, 1, requests=4)
    in_worker(metrics, 1, requests=5)
    metrics.attach(0)
    assert sample(metrics, 'scep_server_requests_total{operation="PKIOperation",status="200"}') == 12
    assert sample(metrics, "scep_server_connections") == 2
    assert sample(metrics, "scep_server_pki_operation_seconds_count") == 12
    assert sample(metrics, 'scep_server_pki_operation_seconds_bucket{le="0.0025"}') == 0
    assert sample(metrics, 'scep_server_pki_operation_seconds_bucket{le="0.005"}') == 12
    assert sample(metrics, "scep_server_pki_operation_seconds_sum") == pytest.approx(0.036)


def test_every_refusal_reason_has_its_line() -> None:
    metrics = Metrics()
    for reason in Reason:
        metrics.refusals.inc(reason.code)
    for reason in Reason:
        assert sample(metrics, f'scep_server_refusals_total{{reason="{reason.code}"}}') == 1


def test_unknown_label_values_count_as_other_and_make_no_series() -> None:
    metrics = Metrics()
    metrics.refusals.inc("made up by a client")
    metrics.requests.inc("GetCACaps", 499)
    assert sample(metrics, 'scep_server_refusals_total{reason="other"}') == 1
    assert sample(metrics, 'scep_server_requests_total{operation="GetCACaps",status="other"}') == 1
    assert b"made up" not in metrics.exposition()


def test_a_label_value_is_wanted_where_none_is_called_other() -> None:
    with pytest.raises(KeyError):
        Metrics().replies.inc("perhaps")


def test_asked_gauges_are_read_at_each_scrape_and_left_out_when_unknown() -> None:
    metrics = Metrics()
    answers: list[float | None] = [7.0, None]
    metrics.ask("ca_expiry_days", "Days until the issuing CA ends", lambda: answers.pop(0))
    assert sample(metrics, "scep_server_ca_expiry_days") == 7
    assert b"ca_expiry_days" not in metrics.exposition()


def test_threads_lose_no_count() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(20_000):
            metrics.issued.inc("enrolment")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.issued.total("enrolment") == 80_000


EVENTS = {"intune": {"accepted": "requests that Intune accepted", "denied": "requests it denied"}}


def test_plugins_count_what_they_declared_in_all_workers() -> None:
    metrics = Metrics(workers=2, plugin_events=EVENTS)
    child = os.fork()
    if child == 0:
        metrics.attach(1)
        metrics.plugin_event("intune", "accepted", 2)
        os._exit(0)
    os.waitpid(child, 0)
    metrics.attach(0)
    metrics.plugin_event("intune", "accepted")
    assert sample(metrics, 'scep_server_plugin_events_total{event="accepted",plugin="intune"}') == 3
    assert sample(metrics, 'scep_server_plugin_events_total{event="denied",plugin="intune"}') == 0
    assert b"intune accepted: requests that Intune accepted" in metrics.exposition()


def test_what_a_plugin_did_not_declare_makes_no_series() -> None:
    metrics = Metrics(plugin_events=EVENTS)
    assert b'event="other"' not in metrics.exposition()
    metrics.plugin_event("intune", "made up")
    metrics.plugin_event("unheard of", "accepted", 2)
    assert sample(metrics, 'scep_server_plugin_events_total{event="other",plugin="intune"}') == 1
    assert sample(metrics, 'scep_server_plugin_events_total{event="other",plugin="other"}') == 2
    assert b"made up" not in metrics.exposition()
    assert b"unheard of" not in metrics.exposition()


def test_a_plugin_that_counts_too_much_is_named() -> None:
    greedy = {f"event {number}": "" for number in range(5000)}
    with pytest.raises(ConfigurationError, match="'greedy' counts 5000 kinds"):
        Metrics(plugin_events={**EVENTS, "greedy": greedy})
    half = {f"event {number}": "" for number in range(400)}
    with pytest.raises(ConfigurationError, match="'fourth'"):
        Metrics(plugin_events={"first": half, "second": {}, "third": half, "fourth": half})


def test_a_plugin_may_count_all_there_is_room_for() -> None:
    room = Metrics()._board.left
    with pytest.raises(ConfigurationError):
        Metrics(plugin_events={"all": {str(number): "" for number in range(room)}})
    metrics = Metrics(plugin_events={"all": {str(number): "" for number in range(room - 1)}})
    assert metrics._board.left == 0


@pytest.mark.parametrize(
    ("family", "label", "values"),
    [
        ("challenges", "event", ["minted", "spent", "expired"]),
        ("notices", "outcome", ["told", "later", "dropped"]),
        ("revocations_pulled", "outcome", ["revoked", "already_revoked", "not_found", "unreadable", "retry"]),
    ],
)
def test_families_of_the_life_of_challenges(family: str, label: str, values: list[str]) -> None:
    metrics = Metrics()
    for number, value in enumerate(values):
        getattr(metrics, family).inc(value, number)
    assert [sample(metrics, f'scep_server_{family}_total{{{label}="{value}"}}') for value in values] == [
        float(number) for number in range(len(values))
    ]


def test_requests_to_plugins_are_counted_by_their_statuses() -> None:
    metrics = Metrics()
    for status in (200, 201, 204, 401, 403):
        metrics.requests.inc("plugin", status)
        assert sample(metrics, f'scep_server_requests_total{{operation="plugin",status="{status}"}}') == 1
