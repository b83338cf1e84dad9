"""The program under test as an operator runs it: `scep-server quickstart` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from asn1crypto import cms

from tests.e2e import wire
from tests.e2e.polling import until

PROGRAM = Path(sys.executable).with_name("scep-server")
START_SECONDS = 60.0
STOP_SECONDS = 35.0


class DidNotStart(RuntimeError):
    """The program ended or said nothing in time; the text carries what it wrote."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class ScepServer:
    """One data directory and, between start and stop, one serving process."""

    data: Path
    key_type: str = "rsa2048"
    challenge: str | None = None
    command: Sequence[str] = (str(PROGRAM),)
    """Program and leading arguments; crash rounds put their launcher here."""
    prefix: Sequence[str] = ()
    """taskset or strace."""
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    info: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_in: float = 0.0
    """Seconds from exec until it said it can serve."""

    @property
    def url(self) -> str:
        return str(self.info["scep_url"])

    @property
    def secret(self) -> str:
        return str(self.info["challenge"])

    @property
    def log(self) -> Path:
        return self.data.with_name(self.data.name + ".stderr")

    def start(self) -> ScepServer:
        """Serve; returns when the program says that it can. DidNotStart otherwise."""
        arguments = [*self.prefix, *self.command, "quickstart", "--data", str(self.data), "--json"]
        arguments += ["--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}"]
        arguments += ["--key-type", self.key_type, *self.arguments]
        if self.challenge is not None:
            arguments += ["--challenge", self.challenge]
        begun = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **self.environment}
            )
        line = self._first_line(begun + START_SECONDS)
        self.started_in = time.monotonic() - begun
        self.info = json.loads(line)
        return self

    def _first_line(self, deadline: float) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        stream = self.process.stdout
        os.set_blocking(stream.fileno(), False)
        line = b""
        while not line.endswith(b"\n"):
            line += stream.read() or b""
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise DidNotStart(f"{line!r}; stderr: {self.stderr()[-2000:]}")
            time.sleep(0.005)
        return line

    def stderr(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self) -> int:
        """SIGTERM, then wait; the exit status. Killed when it does not end in time."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._closed()
        return status

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._closed()

    def _closed(self) -> None:
        assert self.process is not None
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def run(self, *arguments: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A command of the program on the same data directory."""
        command = [str(PROGRAM), *arguments, "--data", str(self.data)]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-500:]}")
        return done

    def certificates(self) -> list[dict[str, Any]]:
        """`cert list --format jsonl`."""
        return [json.loads(line) for line in self.run("cert", "list", "--format", "jsonl").stdout.splitlines()]

    def requests(self) -> list[dict[str, Any]]:
        """`request list --format jsonl`."""
        return [json.loads(line) for line in self.run("request", "list", "--format", "jsonl").stdout.splitlines()]

    def add_integration(self, name: str, **options: str) -> tuple[str, str]:
        """`integration add`; the new integration's SCEP URL and challenge, once a running server knows it."""
        pairs = [text for key, value in options.items() for text in ("--option", f"{key}={value}")]
        done = self.run("integration", "add", name, "--challenge", "static", *pairs, "--json")
        added = json.loads(done.stdout)
        self.await_integration(added["scep_url"])
        return added["scep_url"], added["challenge"]

    def await_integration(self, url: str) -> None:
        """Return when a running server knows a new integration."""
        until(lambda: wire.get(url, "GetCACaps").status == 200, 2.0, f"{url} not served within the promised 2 s")

    def ca_certificates(self, url: str | None = None) -> list[bytes]:
        """GetCACert: RA, issuing CA, root, in the order sent; or the one that there is."""
        answer = wire.get(url or self.url, "GetCACert")
        if answer.headers["content-type"] == "application/x-x509-ca-cert":
            return [answer.body]
        return [choice.dump() for choice in cms.ContentInfo.load(answer.body)["content"]["certificates"]]

    @property
    def ra(self) -> bytes:
        """The certificate that requests are encrypted to."""
        return self.ca_certificates()[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
