"""The simulator as a process of its own, for tests that run the whole program under test as one too."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
CALL_SECONDS = 60.0
STOP_SECONDS = 10.0


class ControlError(RuntimeError):
    """The control endpoint refused; the text says why. A wait in vain is a TimeoutError instead."""


class RemoteSimulator:
    """Starts the process on entry and ends it on exit; `do` runs a verb of the control endpoint."""

    def __init__(self, state: Path, *, port: int = 0) -> None:
        self._state = state
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self.where: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulators.intune", "--port", str(self._port), "--state", str(self._state)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"the simulator ended with {self._process.wait(STOP_SECONDS)}")
        self.where = json.loads(line)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_SECONDS)
            if self._process.stdout:
                self._process.stdout.close()

    @property
    def authority(self) -> str:
        """Base of the token URLs, with a slash at the end."""
        return str(self.where["authority"])

    @property
    def graph(self) -> str:
        """Graph resource, without a slash at the end."""
        return str(self.where["graph"])

    @property
    def ca(self) -> Path:
        """PEM file of the root to trust."""
        return Path(self.where["ca"])

    def do(self, verb: str, **arguments: Any) -> Any:
        """What tests/simulators/intune/control.py lists."""
        request = urllib.request.Request(
            self.where["control"] + verb,
            data=json.dumps(arguments).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 408:
                raise TimeoutError(f"{verb} {arguments}") from error
            raise ControlError(f"{verb}: {error.read().decode()}") from error

    def calls(self, operation: str | None = None) -> list[dict[str, Any]]:
        """Calls as objects with the fields of Call."""
        found: list[dict[str, Any]] = self.do("calls", operation=operation)
        return found

    @property
    def violations(self) -> list[str]:
        """As IntuneSimulator.violations."""
        found: list[str] = self.do("violations")
        return found
