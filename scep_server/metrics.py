"""Counters, gauges and histograms of all worker processes, in one piece of shared memory.

prometheus-client writes the exposition; its own multiprocess mode would need files and an environment variable before
the first import. Here every worker has a slot in an anonymous mapping made before the fork, and whichever worker is
asked adds the slots up. A worker that is started again goes on in its slot, so a counter never falls. All label values
are known beforehand: nothing a client sends can make a new time series.
"""

from __future__ import annotations

import math
import mmap
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from scep_server.errors import ConfigurationError, Reason
from scep_server.types import RevocationOutcome

_OTHER: Final = "other"
PREFIX: Final = "scep_server_"
OPERATIONS: Final = ("GetCACaps", "GetCACert", "PKIOperation", "certificate", "crl", "plugin", "other")
STATUSES: Final = (
    "200", "201", "204", "304", "400", "401", "403", "404", "405",
    "408", "409", "413", "414", "415", "417", "422", "429", "431", "503", _OTHER,
)  # fmt: skip
REPLIES: Final = ("success", "failure", "pending")
FAULTS: Final = ("busy", "cache", "ledger", "plugin", "signer", "other")
ISSUED: Final = ("enrolment", "renewal")
CHALLENGES: Final = ("minted", "spent", "expired")
NOTICES: Final = ("told", "later", "dropped")
REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
COMMIT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_CELLS: Final = 1024
"""Numbers one worker may keep; 8 KiB."""


class Board:
    """One row of numbers for each worker, shared by all of them."""

    def __init__(self, workers: int) -> None:
        self._rows = memoryview(mmap.mmap(-1, workers * _CELLS * 8)).cast("d")
        self._workers = workers
        self._taken = 0
        self._lock = threading.Lock()
        self._cells = self._rows[:_CELLS]

    def attach(self, worker: int) -> None:
        """Write to this worker's row from now on; called once, right after the fork."""
        self._cells = self._rows[worker * _CELLS : (worker + 1) * _CELLS]

    @property
    def left(self) -> int:
        """Cells not taken yet."""
        return _CELLS - self._taken

    def take(self, count: int) -> int:
        """First of count cells, the same in every row. Only before the fork."""
        if count > self.left:
            raise RuntimeError("more metrics than the board has cells for")
        first = self._taken
        self._taken += count
        return first

    def add(self, cell: int, amount: float) -> None:
        """Counters are also moved by pool threads, and += is not one step."""
        with self._lock:
            self._cells[cell] += amount

    def put(self, cell: int, value: float) -> None:
        """Replace this worker's number."""
        self._cells[cell] = value

    def column(self, cell: int) -> list[float]:
        """The cell's number in every row."""
        return list(self._rows[cell::_CELLS])


class Counter:
    """A number that only rises, by one label with known values, or without a label (label values ())."""

    def __init__(self, board: Board, name: str, text: str, label: str = "", values: Sequence[str] = ("",)) -> None:
        self._board = board
        self.name, self.text, self.label = name, text, label
        first = board.take(len(values))
        self._cells = {value: first + number for number, value in enumerate(values)}

    def inc(self, value: str = "", amount: float = 1.0) -> None:
        """Count one. A label value that is not on the list counts as `other`; KeyError where there is no such value."""
        cell = self._cells.get(value)
        self._board.add(self._cells[_OTHER] if cell is None else cell, amount)

    def total(self, value: str = "") -> float:
        """Sum over all workers."""
        return sum(self._board.column(self._cells[value]))

    def collect(self) -> Metric:
        """For the exposition."""
        family = CounterMetricFamily(PREFIX + self.name, self.text, labels=[self.label] if self.label else [])
        for value in self._cells:
            family.add_metric([value] if self.label else [], self.total(value))
        return family


class RequestCounter:
    """HTTP requests by operation and status; combinations never seen are left out of the exposition."""

    def __init__(self, board: Board) -> None:
        self._board = board
        first = board.take(len(OPERATIONS) * len(STATUSES))
        pairs = [(operation, status) for operation in OPERATIONS for status in STATUSES]
        self._cells = {pair: first + number for number, pair in enumerate(pairs)}
        self._by_code = {
            (operation, int(status)): self._cells[operation, status] for operation, status in pairs if status != _OTHER
        }

    def inc(self, operation: str, status: int) -> None:
        """Count one answered request; operation is one of OPERATIONS."""
        cell = self._by_code.get((operation, status))
        self._board.add(self._cells[operation, _OTHER] if cell is None else cell, 1.0)

    def total(self, operation: str, status: int) -> float:
        """Sum over all workers."""
        return sum(self._board.column(self._by_code[operation, status]))

    def collect(self) -> Metric:
        """For the exposition."""
        family = CounterMetricFamily(
            f"{PREFIX}requests", "Requests answered on the public listener", labels=["operation", "status"]
        )
        for (operation, status), cell in self._cells.items():
            if total := sum(self._board.column(cell)):
                family.add_metric([operation, status], total)
        return family


class PluginEvents:
    """What plugins count, by plugin and event: pairs that they declared before the fork, and `other`."""

    def __init__(self, board: Board, declared: Mapping[str, Mapping[str, str]]) -> None:
        """declared: plugin to event to help text. ConfigurationError naming the plugin there is no room for."""
        self._board = board
        self._cells: dict[tuple[str, str], int] = {}
        self._texts: list[str] = []
        for plugin, events in {**declared, _OTHER: {}}.items():
            # The last cell is kept for plugins that declared nothing.
            if plugin != _OTHER and len(events) + 1 >= board.left:
                raise ConfigurationError(
                    f"challenge plugin {plugin!r} counts {len(events)} kinds of events, more than there is room for; "
                    "uninstall it, or another one with many"
                )
            for event in dict.fromkeys((*events, _OTHER)):
                self._cells[plugin, event] = board.take(1)
            self._texts += [f"{plugin} {event}: {text}" for event, text in events.items()]

    def inc(self, plugin: str, event: str, amount: float = 1.0) -> None:
        """Count amount events; one that was not declared counts as the plugin's `other`."""
        cells = self._cells
        cell = cells.get((plugin, event), cells.get((plugin, _OTHER), cells[_OTHER, _OTHER]))
        self._board.add(cell, amount)

    def total(self, plugin: str, event: str) -> float:
        """Sum over all workers."""
        return sum(self._board.column(self._cells[plugin, event]))

    def collect(self) -> Metric:
        """For the exposition; the help text explains each event."""
        text = "; ".join(("Events that challenge plugins count", *self._texts))
        family = CounterMetricFamily(f"{PREFIX}plugin_events", text, labels=["plugin", "event"])
        for (plugin, event), cell in self._cells.items():
            total = sum(self._board.column(cell))
            if total or event != _OTHER:
                family.add_metric([plugin, event], total)
        return family


class Histogram:
    """Durations in seconds. Cells: one for each bucket, one for what is above the last, one for the sum."""

    def __init__(self, board: Board, name: str, text: str, bounds: Sequence[float]) -> None:
        self._board = board
        self.name, self.text = name, text
        self._bounds = tuple(bounds)
        self._first = board.take(len(bounds) + 2)
        self._sum = self._first + len(bounds) + 1

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._board.add(self._first + bisect_left(self._bounds, seconds), 1.0)
        self._board.add(self._sum, seconds)

    def collect(self) -> Metric:
        """For the exposition, where each bucket includes the ones below it."""
        buckets, running = [], 0.0
        for number, bound in enumerate((*self._bounds, math.inf)):
            running += sum(self._board.column(self._first + number))
            buckets.append(("+Inf" if math.isinf(bound) else str(bound), running))
        return HistogramMetricFamily(
            PREFIX + self.name, self.text, buckets=buckets, sum_value=sum(self._board.column(self._sum))
        )


class Gauge:
    """A number that goes up and down; the workers' numbers are added."""

    def __init__(self, board: Board, name: str, text: str) -> None:
        self._board = board
        self.name, self.text = name, text
        self._cell = board.take(1)

    def set(self, value: float) -> None:
        """Replace the worker's own number."""
        self._board.put(self._cell, value)

    def add(self, amount: float) -> None:
        """Move this worker's number."""
        self._board.add(self._cell, amount)

    def value(self) -> float:
        """Sum over all workers."""
        return sum(self._board.column(self._cell))

    def collect(self) -> Metric:
        """For the exposition."""
        return GaugeMetricFamily(PREFIX + self.name, self.text, value=self.value())


Stored = Counter | RequestCounter | PluginEvents | Histogram | Gauge
"""What has cells on the board."""


class Metrics(Collector):
    """Everything that is counted. Make it before workers are forked; each calls attach() with its number.

    plugin_events: what plugins will count, plugin to event to help text. Raises ConfigurationError where that is too
    much.
    """

    def __init__(self, workers: int = 1, plugin_events: Mapping[str, Mapping[str, str]] | None = None) -> None:
        board = self._board = Board(workers)
        self.requests = RequestCounter(board)
        self.protocol_errors = Counter(board, "protocol_errors", "Requests refused while HTTP was still being read")
        self.replies = Counter(board, "replies", "CertReps by pkiStatus", "status", REPLIES)
        self.refusals = Counter(
            board, "refusals", "Refused requests by reason", "reason", (*(r.code for r in Reason), "malformed", _OTHER)
        )
        self.faults = Counter(board, "faults", "Requests answered with 503, by what failed", "part", FAULTS)
        self.issued = Counter(board, "certificates_issued", "Certificates issued", "kind", ISSUED)
        self.revoked = Counter(board, "certificates_revoked", "Certificates revoked")
        self.challenges = Counter(
            board, "challenges", "One-time challenges by what became of them", "event", CHALLENGES
        )
        self.notices = Counter(board, "notices", "Notices to plugins, by what became of them", "outcome", NOTICES)
        self.revocations_pulled = Counter(
            board,
            "revocations_pulled",
            "Revocations that other services asked for, by outcome",
            "outcome",
            [outcome.value for outcome in RevocationOutcome],
        )
        self.pki_operation_seconds = Histogram(
            board, "pki_operation_seconds", "Time from the whole message to its answer", REQUEST_SECONDS
        )
        self.ledger_commit_seconds = Histogram(
            board, "ledger_commit_seconds", "Time of one group commit", COMMIT_SECONDS
        )
        self.ledger_commit_changes = Counter(board, "ledger_commit_changes", "Changes carried by group commits")
        self.in_flight = Gauge(board, "in_flight", "PKIOperations and requests to plugins being worked on")
        self.connections = Gauge(board, "connections", "Open connections to the public listener")
        self._plugin_events = PluginEvents(board, plugin_events or {})
        self._stored: list[Stored] = [metric for metric in vars(self).values() if isinstance(metric, Stored)]
        self._asked: list[tuple[str, str, Callable[[], float | None]]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def attach(self, worker: int) -> None:
        """Count in this worker's slot (0-based) from now on. Gauges of a predecessor in the slot start at zero."""
        self._board.attach(worker)
        self.in_flight.set(0)
        self.connections.set(0)

    def plugin_event(self, plugin: str, event: str, amount: float = 1.0) -> None:
        """Count events of a plugin. Never fails: what was not declared counts as `other`."""
        self._plugin_events.inc(plugin, event, amount)

    def ask(self, name: str, text: str, value: Callable[[], float | None]) -> None:
        """A gauge whose value is asked for at each scrape (CRL age, CA expiry, pending requests); None leaves it out.

        The callback must answer from memory: it runs on the event loop.
        """
        self._asked.append((name, text, value))

    def collect(self) -> Iterable[Metric]:
        """All families, for prometheus-client."""
        for stored in self._stored:
            yield stored.collect()
        for name, text, ask in self._asked:
            value = ask()
            if value is not None:
                yield GaugeMetricFamily(PREFIX + name, text, value=value)

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        return generate_latest(self._registry)
