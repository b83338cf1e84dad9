"""A pool of devices: RSA-2048 keys with their CSRs and self-signed certificates, made once and kept for later runs.

Distinct keys matter (a server may cache by key) and cost 50 ms each, far more than the enrolment they are for.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from tests.e2e.identities import Device, certificate, certification_request, name

CHALLENGE = "bench-0123456789abcdefABCDEF"
"""The same for every server, so that a CSR can be kept with its key."""


@dataclass(frozen=True)
class PooledDevice:
    """What one device keeps between runs; everything DER."""

    key: bytes
    csr: bytes
    certificate: bytes

    def device(self) -> Device:
        key = serialization.load_der_private_key(self.key, None, unsafe_skip_rsa_key_validation=True)
        return Device(key, b"", self.certificate)


def make(number: int) -> PooledDevice:
    """One new device."""
    key: RSAPrivateKey = generate_private_key(65537, 2048)
    subject = name(("O", "Bench"), ("CN", f"device-{number:06d}"))
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    csr = certification_request(key, subject, challenge=CHALLENGE)
    return PooledDevice(der, csr, certificate(key, subject))


def pool(count: int, cache: Path) -> list[PooledDevice]:
    """At least count devices from the cache directory, adding the missing ones on all cores."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = cache / "rsa2048.jsonl"
    devices = list(load(file)) if file.exists() else []
    if len(devices) < count:
        missing = range(len(devices), count)
        with ProcessPoolExecutor(os.cpu_count()) as workers, file.open("a") as out:
            for device in workers.map(make, missing, chunksize=20):
                devices.append(device)
                row = [base64.b64encode(part).decode() for part in (device.key, device.csr, device.certificate)]
                out.write(json.dumps(row) + "\n")
    return devices[:count]


def load(file: Path) -> Iterable[PooledDevice]:
    for line in file.read_text().splitlines():
        yield PooledDevice(*(base64.b64decode(part) for part in json.loads(line)))
