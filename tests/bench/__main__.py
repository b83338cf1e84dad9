"""`make bench`: ours and Debian's scepserver in turn on one core, beside what that core could do at most.

python -m tests.bench [--quick] [--only peer|ours|one-time|full|oracle] [--devices N] [--rounds N] [--cache DIR]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tests.bench import ceiling, one_time, oracle
from tests.bench.pool import CHALLENGE, PooledDevice, pool
from tests.bench.populate import populate
from tests.bench.run import Figures, measure
from tests.conftest import find_program
from tests.e2e.identities import spki
from tests.e2e.micromdm import MicromdmServer
from tests.e2e.server import ScepServer
from tests.e2e.wire import sha256_hex

PINNED = ("taskset", "-c", "0")
MILLION = 1_000_000
Run = Callable[[list[PooledDevice]], Figures]


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for one run, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="scep-bench-") as name:
        yield Path(name)


def run_ours(devices: list[PooledDevice], key_type: str = "rsa2048", *, prepared: Path | None = None) -> Figures:
    """One run against quickstart on a fresh data directory, or on a prepared one; one worker on one core."""
    with scratch() as place:
        data = prepared or place / "data"
        with ScepServer(data, key_type, CHALLENGE, prefix=PINNED) as server:
            return measure(server, server.ca_certificates()[1], devices)


def run_on_both_cores(devices: list[PooledDevice]) -> Figures:
    """One run of two workers, which share both cores with the generator."""
    with scratch() as place, ScepServer(place / "data", "rsa2048", CHALLENGE, arguments=("--workers", "2")) as server:
        return measure(server, server.ca_certificates()[1], devices, "0,1")


def run_peer(devices: list[PooledDevice]) -> Figures:
    """One run against scepserver on a fresh depot."""
    with scratch() as place, MicromdmServer(place / "depot", CHALLENGE, prefix=PINNED) as peer:
        return measure(peer, peer.ra, devices)


def show(label: str, runs: list[Figures]) -> None:
    """One line: medians, the spread of the rate, and everything that was no verified SUCCESS."""
    middle = {
        name: statistics.median(getattr(run, name) for run in runs) for name in ("rate", "p50", "p99", "cpu", "memory")
    }
    rates = [run.rate for run in runs]
    print(
        f"{label:<26} {middle['rate']:7.1f}/s ({min(rates):.1f}..{max(rates):.1f})  p50 {middle['p50']:6.2f} ms  "
        f"p99 {middle['p99']:7.2f} ms  CPU {middle['cpu']:5.2f} ms  memory {middle['memory']:6.1f} MiB  "
        f"errors {sum(run.failures for run in runs)}  duplicate serials {sum(run.duplicates for run in runs)}",
        flush=True,
    )


def target(text: str, values: Sequence[float], bound: float, *, at_least: bool = True) -> None:
    """One line of the targets, met or not, by the median; the spread tells what it is worth."""
    value = statistics.median(values)
    met = value >= bound if at_least else value <= bound
    print(
        f"  {'met ' if met else 'MISS'} {text}: {value:.2f} ({min(values):.2f}..{max(values):.2f}), "
        f"target {'>=' if at_least else '<='} {bound}",
        flush=True,
    )


def show_ceiling(kind: str, tops: Sequence[ceiling.Ceiling]) -> None:
    """One line, beside the servers'."""
    rate, cpu = statistics.median(top.rate for top in tops), statistics.median(top.cpu for top in tops)
    print(f"{f'ceiling, {kind} CA':<26} {rate:7.1f}/s{'':>44}CPU {cpu:5.2f} ms  (private-key operations alone)")


def describe_machine() -> None:
    """Where and with what these figures came about."""
    cpu = next(
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    )
    packages = ("cryptography", "aiohttp", "uvloop", "SQLAlchemy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(f"machine: {cpu}, Linux {platform.release()}, Python {platform.python_version()}, {versions}")
    command = ["dpkg-query", "-W", "-f", "${Version}", "scep"]
    peer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout or "unknown"
    print(f"peer: Debian scepserver {peer}; server on core 0, generator on core 1, 8 keep-alive clients, POST")


@dataclass
class Round:
    """One turn A B A B: runs that are compared with each other stand side by side in time."""

    ours: Figures
    ceiling: ceiling.Ceiling
    both: Figures
    curve: Figures
    curve_ceiling: ceiling.Ceiling


def compare(devices: list[PooledDevice], rounds: int, seconds: float, only: str | None) -> list[Figures]:
    """Rounds of every kind, then the medians, then ratio by ratio the targets. Gives our runs."""
    turns: list[Round] = []
    peers: list[Figures] = []
    for _ in range(rounds):
        if only != "peer":
            turns.append(
                Round(
                    ours=run_ours(devices),
                    ceiling=ceiling.on_core(0, "rsa2048", seconds),
                    both=run_on_both_cores(devices),
                    curve=run_ours(devices, "p256"),
                    curve_ceiling=ceiling.on_core(0, "p256", seconds),
                )
            )
        if only != "ours":
            peers.append(run_peer(devices))
    if peers:
        show("scepserver, RSA-2048 CA", peers)
    if not turns:
        return []
    show("scep-server, RSA-2048 CA", [turn.ours for turn in turns])
    show_ceiling("RSA-2048", [turn.ceiling for turn in turns])
    show("scep-server, P-256 CA", [turn.curve for turn in turns])
    show_ceiling("P-256", [turn.curve_ceiling for turn in turns])
    show("scep-server, both cores", [turn.both for turn in turns])
    judge(turns, peers)
    return [run for turn in turns for run in (turn.ours, turn.curve, turn.both)]


def judge(turns: list[Round], peers: list[Figures]) -> None:
    """The targets, each a median of ratios within a round, with their spread."""
    print("targets")
    if peers:
        target("times scepserver", [turn.ours.rate / peer.rate for turn, peer in zip(turns, peers, strict=True)], 2.5)
    target("share of the ceiling", [turn.ours.rate / turn.ceiling.rate for turn in turns], 0.6)
    by_cpu = [turn.ceiling.cpu / turn.ours.cpu for turn in turns]
    print(f"       by CPU time, which others on the machine touch less: {statistics.median(by_cpu):.2f}")
    runs = [run for turn in turns for run in (turn.ours, turn.curve, turn.both)]
    target("memory, MiB", [turn.ours.memory for turn in turns], 150, at_least=False)
    target("errors and duplicate serials", [run.failures + run.duplicates for run in runs], 0, at_least=False)
    target("both cores, times pinned", [turn.both.rate / turn.ours.rate for turn in turns], 1.3)
    ratios = [turn.both.cpu / turn.ours.cpu for turn in turns]
    target("both cores, CPU per enrolment over pinned", ratios, 1.1, at_least=False)


def compare_one_time(devices: list[PooledDevice], rounds: int) -> list[Figures]:
    """Each kind once a round, so that what is compared stands side by side in time."""
    runs: dict[str, list[Figures]] = {kind: [] for kind in one_time.KINDS}
    for _ in range(rounds):
        for kind, (run, redis) in one_time.KINDS.items():
            with scratch() as place:
                runs[kind].append(run(place, devices, PINNED, redis=redis))
    for kind, figures in runs.items():
        show(kind, figures)
    static, once = runs["static, SQLite"], runs["one-time, SQLite"]
    target("one-time over static, SQLite", [b.rate / a.rate for a, b in zip(static, once, strict=True)], 0.75)
    apart = [b.rate / a.rate for a, b in zip(static, runs["one-time, PostgreSQL+Redis"], strict=True)]
    print(f"       one-time on PostgreSQL and Redis over static on SQLite: {statistics.median(apart):.2f}")
    return [figure for figures in runs.values() for figure in figures]


def compare_full(devices: list[PooledDevice], empty: list[Figures], count: int) -> list[Figures]:
    """p99 with count certificates in the ledger against an empty one."""
    with scratch() as place:
        data = place / "data"
        with ScepServer(data, "rsa2048", CHALLENGE) as server:
            issuing = x509.load_der_x509_certificate(server.ca_certificates()[1]).public_key()
        populate(data / "ledger.sqlite3", count, issuer_id=sha256_hex(spki(issuing))[:16])
        full = [run_ours(devices, prepared=data) for _ in empty]
    show(f"scep-server, {count} kept", full)
    p99 = statistics.median(run.p99 for run in empty)
    target(f"p99 with {count} certificates over empty", [run.p99 / p99 for run in full], 1.3, at_least=False)
    return full


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few messages, one round: does it run at all?")
    parser.add_argument("--only", choices=("peer", "ours", "one-time", "oracle", "full"), help="one part of it")
    parser.add_argument("--devices", type=int, default=2000, help="messages in each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "scep-server-bench", help="key pool")
    options = parser.parse_args()
    if options.quick:
        options.devices, options.rounds = min(options.devices, 400), 1
    find_program("taskset", "util-linux")
    describe_machine()
    devices = pool(options.devices, options.cache)
    runs: list[Figures] = []
    if options.only in (None, "peer", "ours"):
        runs = compare(devices, options.rounds, 1.0 if options.quick else 5.0, options.only)
    if options.only in (None, "one-time"):
        runs = runs + compare_one_time(devices, options.rounds)
    if options.only in (None, "full"):
        empty = [run_ours(devices) for _ in range(options.rounds)]
        runs = runs + compare_full(devices, empty, 20_000 if options.quick else MILLION)
    bad = sum(run.failures + run.duplicates for run in runs)
    if options.only in (None, "oracle"):
        bad += oracle.main(200 if options.quick else 2000)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
