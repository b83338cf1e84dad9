"""A PostgreSQL of a test's own, from Debian's package, on a private port: started, killed, started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.conftest import find_program
from tests.e2e.server import free_port


class PostgreSql:
    """One cluster in a scratch folder; a context manager that runs it."""

    def __init__(self) -> None:
        self._binaries = find_program("initdb", "postgresql-15").parent
        self._folder = Path(tempfile.mkdtemp(prefix="scep-pg-"))
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._account = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._run_initdb()

    def _run_initdb(self) -> None:
        options = ["-A", "trust", "-U", "scep", "--no-sync", "-E", "UTF8", "--locale=C"]
        command = [str(self._binaries / "initdb"), "-D", str(self._folder / "data"), *options]
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL, cwd=self._folder, **self._account)

    def create_database(self, name: str) -> str:
        """SQLAlchemy's URL of a new, empty database."""
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://scep@127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        """Run, and return when it answers."""
        settings = (
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self._folder}",
            f"port={self._port}",
        )
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data")]
        command += [part for setting in settings for part in ("-c", setting)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=self._folder, **quiet, **self._account)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.05)  # polling another program's start; nothing tells us

    def end(self, how: signal.Signals) -> None:
        """SIGQUIT: at once, as after a crash. SIGINT: in order."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._conninfo("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self._port} user=scep dbname={database} connect_timeout=2"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGINT)
        shutil.rmtree(self._folder, ignore_errors=True)
