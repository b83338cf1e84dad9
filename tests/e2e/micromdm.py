"""Debian's `scepserver` (micromdm/scep): the peer that proves this harness before it judges our own server."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.conftest import find_program
from tests.e2e import wire
from tests.e2e.server import free_port


@dataclass
class MicromdmServer:
    """A fresh depot with an RSA-2048 CA, and a serving process between start and stop."""

    depot: Path
    challenge: str = "micromdm-secret"
    prefix: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/scep"

    def start(self) -> MicromdmServer:
        program = str(find_program("scepserver", "scep"))
        if not (self.depot / "ca.pem").exists():
            make = [program, "ca", "-init", "-depot", str(self.depot), "-keySize", "2048"]
            subprocess.run(make, check=True, capture_output=True, timeout=60)
        command = [*self.prefix, program, "-depot", str(self.depot), "-port", str(self.port)]
        command += ["-challenge", self.challenge, "-allowrenew", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    @property
    def ra(self) -> bytes:
        return wire.get(self.url, "GetCACert").body

    def issued(self) -> list[bytes]:
        """Certificates in the depot, DER."""
        return [pem_body(path.read_text()) for path in self.depot.glob("*.pem") if path.name != "ca.pem"]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def pem_body(text: str) -> bytes:
    return base64.b64decode("".join(line for line in text.splitlines() if not line.startswith("-")))
