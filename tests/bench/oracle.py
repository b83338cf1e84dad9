"""Is there a padding oracle? The statistical test of conformance line N13.

Every way in which a request can fail between the private-key operation and a well-formed CSR, interleaved at random:
the replies must be the same bytes apart from what must differ, and no two classes may be told apart by their time.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import socket
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.bench.generator import http_request
from tests.e2e.crafted import CIPHERS, attributes_of, encrypt, envelope, message, recipient
from tests.e2e.identities import Device, certification_request, rsa_key
from tests.e2e.replies import read_reply
from tests.e2e.server import ScepServer

BELOW = 0.001
"""Two classes are told apart when p, after Bonferroni, is below this."""
Envelope = Callable[[], bytes]


@dataclass(frozen=True)
class Classes:
    """The failing classes for one recipient. All envelopes of one shape: the same lengths, the same algorithms."""

    device: Device
    ra: bytes

    @property
    def modulus(self) -> int:
        public = x509.load_der_x509_certificate(self.ra).public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        return public.public_numbers().n

    def csr(self, **options: object) -> bytes:
        return certification_request(self.device.key, self.device.subject, challenge="x" * 24, **options)  # type: ignore[arg-type]

    def seal(self, plaintext: bytes, encrypted_key: bytes | None = None, *, pad: bool = True) -> bytes:
        cek, iv = os.urandom(CIPHERS["aes128"][1]), os.urandom(16)
        info = recipient(self.ra, cek, encrypted_key=encrypted_key)
        ciphertext = encrypt("aes128", cek, iv, plaintext, pad=pad)
        return envelope(b"", [info], cek, iv=iv, ciphertext=ciphertext)

    def bad_rsa_padding(self) -> bytes:
        return self.seal(self.csr(), (int.from_bytes(os.urandom(256)) % self.modulus).to_bytes(256))

    def wrong_key_length(self) -> bytes:
        public = x509.load_der_x509_certificate(self.ra).public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        return self.seal(self.csr(), public.encrypt(os.urandom(24), padding.PKCS1v15()))

    def beyond_modulus(self) -> bytes:
        return self.seal(self.csr(), (self.modulus + 1 + int.from_bytes(os.urandom(8))).to_bytes(256))

    def wrong_length(self) -> bytes:
        return self.seal(self.csr(), os.urandom(255))

    def bad_cbc_padding(self) -> bytes:
        csr = self.csr()
        filled = csr + bytes(16 - len(csr) % 16)
        return self.seal(filled, pad=False)

    def not_a_csr(self) -> bytes:
        return self.seal(os.urandom(len(self.csr())))

    def bad_csr_signature(self) -> bytes:
        csr = self.csr()
        return self.seal(csr[:-1] + bytes((csr[-1] ^ 1,)))

    def all(self) -> dict[str, Envelope]:
        methods = (
            self.bad_rsa_padding,
            self.wrong_key_length,
            self.beyond_modulus,
            self.wrong_length,
            self.bad_cbc_padding,
            self.not_a_csr,
            self.bad_csr_signature,
        )
        return {method.__name__: method for method in methods}


def mann_whitney(first: list[float], second: list[float]) -> float:
    """Two-sided p of the U test, normal approximation with tie correction; fine for hundreds of samples."""
    tagged = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum, ties, at = 0.0, 0.0, 0
    for _, group in itertools.groupby(tagged, key=lambda pair: pair[0]):
        members = list(group)
        count = len(members)
        rank_sum += (at + (count + 1) / 2) * sum(1 for _, side in members if side == 0)
        ties += count**3 - count
        at += count
    n, m = len(first), len(second)
    u = rank_sum - n * (n + 1) / 2
    total = n + m
    deviation = math.sqrt(n * m / 12 * (total + 1 - ties / (total * (total - 1))))
    return math.erfc(abs(u - n * m / 2) / deviation / math.sqrt(2))


class Connection:
    """One keep-alive connection with Nagle off; exchange() gives seconds and the HTTP response."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.path = parts.hostname or "", parts.port or 80, parts.path
        self.socket = socket.create_connection((self.host, self.port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, body: bytes) -> tuple[float, bytes, bytes]:
        """Seconds, head and body."""
        sent = http_request(self.host, self.port, self.path, body)
        begun = time.perf_counter()
        self.socket.sendall(sent)
        received = self.socket.recv(65536)
        taken = time.perf_counter() - begun
        while b"\r\n\r\n" not in received:
            received += self.socket.recv(65536)
        head, _, rest = received.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        while len(rest) < length:
            rest += self.socket.recv(65536)
        return taken, head, rest


def visible(head: bytes, body: bytes) -> tuple[object, ...]:
    """What a client sees of an answer, without what differs in every reply."""
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"date:")]
    reply = read_reply(body)
    return tuple(lines), len(body), reply.status, reply.fail_info, reply.text, reply.digest


def sample(
    server: ScepServer, count: int, *, transaction: str = "oracle"
) -> tuple[dict[str, list[float]], set[object]]:
    """Times by class and every different thing that could be seen; classes interleaved at random."""
    device = Device.named("oracle", rsa_key())
    classes = Classes(device, server.ra).all()
    order = [name for name in classes for _ in range(count)]
    random.shuffle(order)
    times: dict[str, list[float]] = {name: [] for name in classes}
    seen: set[object] = set()
    connection = Connection(server.url)
    for number, name in enumerate(order):
        attributes = attributes_of("19", f"{transaction}-{number:08d}")
        taken, head, body = connection.exchange(message(device, classes[name](), attributes))
        times[name].append(taken)
        seen.add(visible(head, body))
    connection.socket.close()
    return times, seen


def separable(times: dict[str, list[float]]) -> list[tuple[str, str, float]]:
    """Pairs of classes that the clock tells apart, with p after Bonferroni."""
    pairs = list(itertools.combinations(times, 2))
    tested = [(a, b, min(1.0, mann_whitney(times[a], times[b]) * len(pairs))) for a, b in pairs]
    return [(a, b, p) for a, b, p in tested if p < BELOW]


def main(count: int = 2000) -> int:
    """Run it and print what was found; the number of findings."""
    with tempfile.TemporaryDirectory(prefix="scep-oracle-") as place, ScepServer(Path(place) / "data") as server:
        sample(server, max(10, count // 20), transaction="warm-up")
        times, seen = sample(server, count)
    print(f"oracle: {len(times)} classes, {count} requests each; different answers seen: {len(seen)} (must be 1)")
    for name, values in times.items():
        values.sort()
        print(f"  {name:<20} median {values[len(values) // 2] * 1e6:8.1f} us")
    found = separable(times)
    for a, b, p in found:
        print(f"  TOLD APART {a} and {b}: p = {p:.2e}")
    if not found:
        print(f"  no two classes told apart (Mann-Whitney, Bonferroni, p > {BELOW})")
    return len(found) + len(seen) - 1


if __name__ == "__main__":
    raise SystemExit(1 if main() else 0)
