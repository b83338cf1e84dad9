"""One measured run: a fresh server, prebuilt messages, the load, and what of it was a verified SUCCESS."""

from __future__ import annotations

import os
import pickle
import statistics
import subprocess
import sys
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from cryptography import x509

from tests.bench.generator import Load, Shot, http_request
from tests.bench.pool import PooledDevice
from tests.bench.processes import cpu_seconds, memory_mib
from tests.e2e.crafted import attributes_of, message, seal
from tests.e2e.identities import certification_request, subject_of
from tests.e2e.replies import BadReply, read_reply

CLIENTS = 8
WARM_UP = 64


class Subject(Protocol):
    """A serving process; ours or a peer's."""

    process: subprocess.Popen[bytes] | None

    @property
    def url(self) -> str: ...

    @property
    def ra(self) -> bytes: ...


@dataclass(frozen=True)
class Figures:
    """What one run came to. Times in milliseconds, memory in MiB."""

    rate: float
    p50: float
    p99: float
    cpu: float
    memory: float
    successes: int
    failures: int
    duplicates: int


def build(work: tuple[PooledDevice, bytes, int, str | None]) -> bytes:
    """The PKCSReq of one pooled device for this recipient; its CSR is made anew for a challenge of its own."""
    pooled, recipient, number, challenge = work
    device = pooled.device()
    csr = pooled.csr
    if challenge is not None:
        csr = certification_request(device.key, subject_of(pooled.certificate), challenge=challenge)
    attributes = attributes_of("19", f"bench-{number:06d}-{os.urandom(8).hex()}")
    return message(device, seal(csr, recipient), attributes)


def verified_serial(work: tuple[PooledDevice, bytes | None, bytes]) -> int | None:
    """Serial of the certificate in this reply, when it is a SUCCESS with a certificate for this key by this issuer."""
    pooled, body, issuer = work
    if body is None:
        return None
    try:
        reply = read_reply(body, lenient=True)
        if reply.status != "SUCCESS":
            return None
        leaf = reply.certificate(pooled.device())
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(issuer))
    except (BadReply, ValueError, KeyError):
        return None
    return leaf.serial_number


def measure(
    subject: Subject,
    issuer: bytes,
    devices: Sequence[PooledDevice],
    generator_cores: str = "1",
    challenges: Sequence[str] | None = None,
) -> Figures:
    """Fire one request for each device and verify every reply afterwards. The server is running and idle.

    challenges: one for each device; None: the static one that their CSRs carry.
    """
    assert subject.process is not None
    parts = urllib.parse.urlsplit(subject.url)
    host, port = parts.hostname or "", parts.port or 80
    recipient = subject.ra
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        jobs = [
            (device, recipient, number, None if challenges is None else challenges[number])
            for number, device in enumerate(devices)
        ]
        bodies = list(workers.map(build, jobs, chunksize=50))
        requests = [http_request(host, port, parts.path, body) for body in bodies]
        shot, cpu = fire(subject.process.pid, Load(host, port, CLIENTS, requests, WARM_UP), generator_cores)
        memory = memory_mib(subject.process.pid)
        replies = [(device, body, issuer) for device, body in zip(devices, shot.bodies, strict=True)]
        serials = list(workers.map(verified_serial, replies, chunksize=50))
    good = [serial for serial in serials if serial is not None]
    timed = sum(serial is not None for serial in serials[WARM_UP:])
    centiles = statistics.quantiles(shot.latencies, n=100)
    return Figures(
        rate=timed / shot.seconds,
        p50=centiles[49] * 1000,
        p99=centiles[98] * 1000,
        cpu=cpu * 1000 / max(1, timed),
        memory=memory,
        successes=len(good),
        failures=len(serials) - len(good),
        duplicates=len(good) - len(set(good)),
    )


def fire(pid: int, load: Load, cores: str) -> tuple[Shot, float]:
    """Run the generator on these cores; what it saw, and the server's CPU seconds meanwhile."""
    command = ["taskset", "-c", cores, sys.executable, "-m", "tests.bench.generator"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as generator:
        assert generator.stdin is not None
        assert generator.stdout is not None
        pickle.dump(load, generator.stdin)
        generator.stdin.flush()
        if generator.stdout.readline() != b"ready\n":
            raise RuntimeError("the load generator ended before it was ready")
        before = cpu_seconds(pid)
        generator.stdin.write(b".")
        generator.stdin.flush()
        shot: Shot = pickle.load(generator.stdout)
        return shot, cpu_seconds(pid) - before
