"""What the pinned core could do at most: the private-key operations of one enrolment and nothing else.

Run as a program under taskset. One unwrap with the RA key, one signature of the reply with
the RA key, one of the certificate with the CA key, through the same library that the server uses.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

SHA256 = hashes.SHA256()


@dataclass(frozen=True)
class Ceiling:
    """rate: enrolments a second. cpu: milliseconds of CPU for each, which a crowded machine does not change much."""

    rate: float
    cpu: float


def measure(key_type: str, seconds: float) -> Ceiling:
    """For a CA with this key type (rsa2048 or p256)."""
    ra = rsa.generate_private_key(65537, 2048)
    wrapped = ra.public_key().encrypt(b"k" * 16, padding.PKCS1v15())
    data = b"d" * 1000
    if key_type == "p256":
        ec_ca = ec.generate_private_key(ec.SECP256R1())

        def certify() -> None:
            ec_ca.sign(data, ec.ECDSA(SHA256))
    else:
        rsa_ca = rsa.generate_private_key(65537, 2048)

        def certify() -> None:
            rsa_ca.sign(data, padding.PKCS1v15(), SHA256)

    count, begun, used = 0, time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) - begun < seconds:
        for _ in range(10):
            ra.decrypt(wrapped, padding.PKCS1v15())
            certify()
            ra.sign(data, padding.PKCS1v15(), SHA256)
        count += 10
    return Ceiling(count / (now - begun), (time.process_time() - used) / count * 1000)


def on_core(core: int, key_type: str, seconds: float) -> Ceiling:
    """measure() in a process of its own on this core."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", "tests.bench.ceiling", key_type, str(seconds)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return Ceiling(*(float(part) for part in printed.split()))


if __name__ == "__main__":
    top = measure(sys.argv[1], float(sys.argv[2]))
    print(top.rate, top.cpu)
