"""Debian's `scepclient` speaks SHA-1 and single DES only: a clean, signed badAlg, and nothing happens (R3)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import find_program
from tests.e2e import wire
from tests.e2e.replies import read_reply
from tests.e2e.server import ScepServer
from tests.e2e.tap import Tap, bodies


def test_scepclient_gets_a_clean_bad_alg(server: ScepServer, tmp_path: Path):
    program = str(find_program("scepclient", "scep"))
    before = server.certificates()
    with Tap(server.url) as tap:
        command = [
            program,
            "-server-url",
            tap.url,
            "-challenge",
            server.secret,
            "-cn",
            "scepclient",
            "-private-key",
            "client.key",
        ]
        command += ["-ca-fingerprint", wire.sha256_hex(server.ra)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
        sent = [body for record in tap.sent for body in bodies(bytes(record))]
    assert done.returncode != 0
    assert b"badAlg" in done.stdout + done.stderr
    assert server.certificates() == before
    assert not (tmp_path / "client.pem").exists()
    reply = read_reply(wire.post(server.url, sent[0]).body)
    assert (reply.status, reply.fail_info) == ("FAILURE", 0)
