"""Runs the real program, as a user's shell would."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from scep_server.cli import main

PROGRAM = Path(sys.executable).with_name("scep-server")
TIMEOUT = 60
"""Seconds; a command takes one or two, on a busy machine some more."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without any setting of the program."""
    clean = {name: value for name, value in os.environ.items() if not re.match("SCEP_", name)}
    return clean | {"COLUMNS": "200", "NO_COLOR": "1"} | dict(extra or {})


def run(*arguments: object, stdin: str | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """One command to its end; extra: environment variables."""
    return subprocess.run(
        [str(PROGRAM), *map(str, arguments)],
        env=environment(extra),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def call(*arguments: object, stdin: str | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """The same command inside this process, which spares the second that importing everything takes."""
    out, err = io.StringIO(), io.StringIO()
    clean = environment(extra)
    with (
        mock.patch.dict(os.environ, clean, clear=True),
        mock.patch.object(sys, "argv", ["scep-server", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO((stdin or "").encode()))),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(list(map(str, arguments)), code, out.getvalue(), err.getvalue())


def succeed(*arguments: object, **extra: str) -> str:
    """Standard output of a command that must end with 0."""
    done = call(*arguments, **extra)
    assert done.returncode == 0, done.stderr
    return done.stdout


def json_lines(text: str) -> list[dict[str, Any]]:
    """Every line as an object: a stray line of another kind fails."""
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def serving(*arguments: object, **extra: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A serving command from its first line on standard output until SIGTERM, which must end it with 0."""
    process = subprocess.Popen(
        [str(PROGRAM), *map(str, arguments)],
        env=environment(extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate(timeout=TIMEOUT)[1])
        yield line, process
        process.send_signal(signal.SIGTERM)
        rest, messages = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, messages
        assert rest == "" or not line.startswith("{"), rest
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Quickstart:
    """A serving quickstart: its folder and the line it printed."""

    data: Path
    line: dict[str, Any]

    def scep_url(self, integration: str) -> str:
        """The SCEP URL of another integration."""
        return str(self.line["scep_url"]).removesuffix("default") + integration

    def until_served(self, integration: str) -> None:
        """Running servers take up a change by themselves, within two seconds; a busy machine gets more tries."""
        for _ in range(300):
            if call("client", "caps", "--url", self.scep_url(integration)).returncode == 0:
                return
        raise AssertionError(f"{integration} is not served")

    def enroll(self, out: Path, subject: str, *more: object) -> dict[str, Any]:
        """A certificate from the default integration, as `client enroll --json` tells it."""
        arguments = ("client", "enroll", "--url", self.line["scep_url"], "--out", out, "--subject", subject, "--json")
        (record,) = json_lines(succeed(*arguments, *more, SCEP_CHALLENGE=self.line["challenge"]))
        return record
