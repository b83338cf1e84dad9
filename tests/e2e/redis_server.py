"""A Redis of a test's own, from Debian's package, on a private port or socket: started, killed, started again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Self

from tests.conftest import find_program
from tests.e2e.server import free_port

QUIET = ("--loglevel", "warning", "--save", "", "--appendonly", "no")


class RedisProcess:
    """One redis-server in a scratch folder; a context manager that runs it.

    options: as on its command line ("--maxmemory", "1mb"); later ones win. Nothing is kept over a restart unless they
    say so. admin: what log in with (AUTH's arguments), when the options ask for it.
    """

    def __init__(self, *options: str, admin: Sequence[str] = (), sentinel: str = "") -> None:
        self._program = find_program("redis-server", "redis-server")
        self.folder = Path(tempfile.mkdtemp(prefix="scep-redis-"))
        self.port = free_port()
        self.socket = self.folder / "redis.sock"
        self._options = options
        self._admin = tuple(admin)
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As [redis] url takes it."""
        return f"redis://{self.address}"

    def start(self) -> None:
        """Run, and return when it answers."""
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        if self._sentinel:
            configuration = self.folder / "sentinel.conf"
            configuration.write_text(self._sentinel)
            command = [str(self._program), str(configuration), "--sentinel", *where, *self._options]
        else:
            command = [str(self._program), *where, "--unixsocket", str(self.socket), *QUIET, *self._options]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=self.folder, **quiet)
        deadline = time.monotonic() + 15
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.01)  # polling another program's start; nothing tells us

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL: at once, as after a crash. SIGTERM: in order."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(15)
            self._process = None

    def hold(self) -> None:
        """It stops working, and its connections stay open, until release()."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def release(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str | bytes | int) -> object:
        """The answer to one command, by a client that has nothing in common with the one under test."""
        with self._dial() as line:
            if self._admin:
                _exchange(line, ("AUTH", *self._admin))
            return _exchange(line, words)

    def _dial(self) -> socket.socket:
        if self.socket.exists():
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(5)
            try:
                line.connect(str(self.socket))
            except OSError:
                line.close()
                raise
            return line
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, RuntimeError):
            return self.ask("PING") == b"PONG"
        return False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.release()
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def _exchange(line: socket.socket, words: Sequence[str | bytes | int]) -> object:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    line.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    with line.makefile("rb") as answers:
        return _read(answers)


def _read(answers: BinaryIO) -> object:
    first = answers.readline().rstrip(b"\r\n")
    kind, rest = first[:1], first[1:]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else answers.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [_read(answers) for _ in range(int(rest))]
    if kind == b"+":
        return rest
    raise RuntimeError("no answer")
