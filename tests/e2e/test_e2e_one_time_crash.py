"""K6 for one-time challenges: killed at whatever step, a server has spent none without an entry to come back for."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import urllib.parse
from pathlib import Path

import pytest

from tests.crash import launcher
from tests.crash.storm import Account, Wish, storm
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device, rsa_key
from tests.e2e.outcomes import BAD_REQUEST, send
from tests.e2e.server import ScepServer

WISHES = 8
"""Challenges of one life of the server."""
KEYS = 4


class Lives:
    """A server that dies again and again, and everybody who has a challenge of it."""

    def __init__(self, folder: Path) -> None:
        self._armed = folder / "armed"
        self.server = ScepServer(folder / "data", "p256")
        self.owners: list[tuple[Device, str]] = []
        self.received: dict[str, int] = {}
        """Serial by challenge."""

    @property
    def url(self) -> str:
        return self.server.url.replace("/default", "/once")

    def start(self, step: str) -> None:
        self._armed.unlink(missing_ok=True)
        self.server.command = (sys.executable, launcher.__file__, step, str(self._armed))
        self.server.start()

    def die_at(self, step: str) -> None:
        """Mint, have all of it used at once, and die on the way."""
        self.start(step)
        ra = self.server.ra
        challenges = self.server.run("challenge", "mint", "once", "--count", str(WISHES)).stdout.split()
        devices = [Device.named(f"{step}-{number}", rsa_key(number % KEYS)) for number in range(WISHES)]
        wishes = [
            Wish(device, device_id, pkcs_req(device, ra, challenge, transaction_id=device_id))
            for number, (device, challenge) in enumerate(zip(devices, challenges, strict=True))
            for device_id in [f"{step}-{number}"]
        ]
        self._armed.write_text(str(random.randint(1, WISHES // 2)))
        account = asyncio.run(self._storm(wishes))
        assert self.server.process is not None
        assert self.server.process.wait(10) == -signal.SIGKILL
        self.server.kill()
        assert account.refused == []
        by_message = {wish.message: challenge for wish, challenge in zip(wishes, challenges, strict=True)}
        self.received |= {by_message[wish.message]: wish.serial(body) for wish, body in account.answered}
        self.owners += zip(devices, challenges, strict=True)

    async def _storm(self, wishes: list[Wish]) -> Account:
        parts = urllib.parse.urlsplit(self.url)
        return await storm(parts.hostname or "", parts.port or 0, parts.path, wishes)


@pytest.mark.crash
def test_one_time_challenges_outlive_kill_9(tmp_path: Path) -> None:
    lives = Lives(tmp_path)
    lives.start(launcher.NEVER)
    lives.server.run("integration", "add", "once", "--challenge", "dynamic")
    assert lives.server.stop() == 0
    for step in launcher.LABELS:
        lives.die_at(step)
    lives.start(launcher.NEVER)
    ra = lives.server.ra
    thief = Device.named("thief", rsa_key(KEYS))
    for device, challenge in lives.owners:
        # A reply may be lost with the server: the same key asks again, under another transaction id.
        serial = send(lives.url, pkcs_req(device, ra, challenge)).certrep.certificate(device).serial_number
        assert lives.received.setdefault(challenge, serial) == serial
        assert send(lives.url, pkcs_req(thief, ra, challenge)).short == BAD_REQUEST
    issued = [row["serial"] for row in lives.server.certificates() if row["integration"] == "once"]
    assert len(issued) == len(set(issued)) == len(lives.owners) == len(set(lives.received.values()))
    lives.server.run("audit", "verify")
    assert lives.server.stop() == 0
