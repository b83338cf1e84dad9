"""`make bench`: ours and Debian's scepserver in turn on one core, beside what that core could do at most.

python -m tests.bench [--quick] [--only peer|ours|oracle] [--devices N] [--rounds N] [--cache DIR]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from tests.bench import ceiling, oracle
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


def run_ours(
    devices: list[PooledDevice], key_type: str = "rsa2048", *, pinned: bool = True, prepared: Path | None = None
) -> Figures:
    """One run against quickstart on a fresh data directory, or on a prepared one."""
    with scratch() as place:
        data = prepared or place / "data"
        server = ScepServer(data, key_type, CHALLENGE, prefix=PINNED if pinned else ())
        with server:
            return measure(server, server.ca_certificates()[1], devices, "1" if pinned else "0,1")


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


def target(text: str, value: float, bound: float, *, at_least: bool = True) -> None:
    """One line of the targets, met or not."""
    met = value >= bound if at_least else value <= bound
    print(
        f"  {'met ' if met else 'MISS'} {text}: {value:.2f} (target {'>=' if at_least else '<='} {bound})", flush=True
    )


def show_ceiling(kind: str, top: ceiling.Ceiling) -> None:
    """One line, beside the servers'."""
    print(f"{f'ceiling, {kind} CA':<26} {top.rate:7.1f}/s{'':>44}CPU {top.cpu:5.2f} ms  (private-key operations alone)")


def median_rate(runs: list[Figures]) -> float:
    return statistics.median(run.rate for run in runs)


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


def compare(devices: list[PooledDevice], rounds: int, seconds: float, only: str | None) -> list[Figures]:
    """A B A B, the ceiling beside them, then the P-256 line and the unpinned one. Gives our runs."""
    ours: list[Figures] = []
    peers: list[Figures] = []
    for _ in range(rounds):
        if only in (None, "ours"):
            ours.append(run_ours(devices))
        if only in (None, "peer"):
            peers.append(run_peer(devices))
    top = ceiling.on_core(0, "rsa2048", seconds)
    show_ceiling("RSA-2048", top)
    if peers:
        show("scepserver, RSA-2048 CA", peers)
    if not ours:
        return ours
    show("scep-server, RSA-2048 CA", ours)
    curve = [run_ours(devices, "p256") for _ in range(rounds)]
    show("scep-server, P-256 CA", curve)
    top_curve = ceiling.on_core(0, "p256", seconds)
    show_ceiling("P-256", top_curve)
    both = [run_ours(devices, pinned=False) for _ in range(rounds)]
    show("scep-server, both cores", both)
    print("targets")
    if peers:
        ratios = [mine.rate / theirs.rate for mine, theirs in zip(ours, peers, strict=True)]
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        target(f"times scepserver (spread {spread})", statistics.median(ratios), 2.5)
    target("share of the ceiling", median_rate(ours) / top.rate, 0.6)
    busy = statistics.median(run.cpu for run in ours)
    print(f"       by CPU time, which others on the machine do not touch: {top.cpu / busy:.2f}")
    target("memory, MiB", max(run.memory for run in ours), 150, at_least=False)
    target("errors and duplicate serials", sum(run.failures + run.duplicates for run in ours), 0, at_least=False)
    target("both cores, times pinned", median_rate(both) / median_rate(ours), 1.3)
    cpu = [statistics.median(run.cpu for run in runs) for runs in (both, ours)]
    target("both cores, CPU per enrolment over pinned", cpu[0] / cpu[1], 1.1, at_least=False)
    return [*ours, *curve, *both]


def compare_full(devices: list[PooledDevice], empty: list[Figures], count: int) -> list[Figures]:
    """p99 with count certificates in the ledger against an empty one."""
    with scratch() as place:
        data = place / "data"
        with ScepServer(data, "rsa2048", CHALLENGE) as server:
            issuing = x509.load_der_x509_certificate(server.ca_certificates()[1]).public_key()
        populate(data / "ledger.sqlite3", count, issuer_id=sha256_hex(spki(issuing))[:16])
        full = [run_ours(devices, prepared=data)]
    show(f"scep-server, {count} kept", full)
    p99 = statistics.median(run.p99 for run in empty)
    target(f"p99 with {count} certificates over empty", full[0].p99 / p99, 1.3, at_least=False)
    return full


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few messages, one round: does it run at all?")
    parser.add_argument("--only", choices=("peer", "ours", "oracle", "full"), help="one part of it")
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
    if options.only in (None, "full"):
        empty = runs[: options.rounds] or [run_ours(devices) for _ in range(options.rounds)]
        runs = runs + compare_full(devices, empty, 20_000 if options.quick else MILLION)
    bad = sum(run.failures + run.duplicates for run in runs)
    if options.only in (None, "oracle"):
        bad += oracle.main(200 if options.quick else 2000)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
