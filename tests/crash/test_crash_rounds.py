"""kill -9 under load, again and again (K6, F1, invariants I1, I2, I3 and I6).

Rounds kill at each labelled step and at random moments in turn. CRASH_ROUNDS says how many (8).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.launcher import LABELS, NEVER
from tests.crash.storm import Account, Wish, storm, wish
from tests.e2e.identities import Device, rsa_key
from tests.e2e.server import ScepServer

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "8"))
WISHES = 48
LAUNCHER = Path(__file__).with_name("launcher.py")
RANDOM = "random"
START_LIMIT = 5.0
"""Seconds a start may take after a crash."""


def crowding() -> float:
    """How many programs want each processor, at least 1: a start takes that much longer for no fault of its own."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class CrashRounds:
    """One data directory that survives everything, and what its clients remember."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.arm_file = place / "armed"
        self.server = ScepServer(place / "data", "p256")
        self.devices = [Device.named(f"crash-{number}", rsa_key(number)) for number in range(4)]
        self.received: dict[str, int] = {}
        """Serial by transaction, of every certificate that any client got hold of."""
        self.owed: list[Wish] = []
        self.stock: list[Wish] = []
        self.starts: list[float] = []

    def play(self, label: str) -> None:
        """Start, settle what the last crash left open, crash again."""
        self.start(label)
        self.settle()
        account = self.crash(label)
        for mine, body in account.answered:
            self.receive(mine, body)
        assert account.refused == []
        self.owed += account.unanswered
        self.stock += account.unsent

    def start(self, label: str) -> None:
        self.arm_file.unlink(missing_ok=True)
        step = NEVER if label == RANDOM else label
        self.server.command = (sys.executable, str(LAUNCHER), step, str(self.arm_file))
        fresh = not self.server.data.exists()
        self.server.start()
        if not fresh:
            self.starts.append(self.server.started_in)
            assert self.server.started_in < START_LIMIT * crowding()

    def settle(self) -> None:
        """Every request that got no answer is repeated twice, and both answers are the same one certificate."""
        for _ in range(2):
            account = self.send(self.owed)
            assert (account.unanswered, account.unsent, account.refused) == ([], [], [])
            for mine, body in account.answered:
                self.receive(mine, body)
        self.owed = []

    def receive(self, mine: Wish, body: bytes) -> None:
        serial = mine.serial(body)
        assert self.received.setdefault(mine.transaction_id, serial) == serial

    def send(self, wishes: list[Wish], kill_after: float | None = None) -> Account:
        parts = urllib.parse.urlsplit(self.server.url)

        async def run() -> Account:
            if kill_after is not None:
                asyncio.get_running_loop().call_later(kill_after, self.kill_now)
            return await storm(parts.hostname or "", parts.port or 0, parts.path, wishes)

        return asyncio.run(run())

    def kill_now(self) -> None:
        assert self.server.process is not None
        os.kill(self.server.process.pid, signal.SIGKILL)

    def crash(self, label: str) -> Account:
        """Load until the server is dead."""
        recipient, secret = self.server.ra, self.server.secret
        while len(self.stock) < WISHES:
            self.stock.append(wish(random.choice(self.devices), recipient, secret))
        wishes, self.stock = self.stock, []
        if label == RANDOM:
            account = self.send(wishes, random.uniform(0.001, 0.12))
            self.kill_now()
        else:
            self.arm_file.write_text(str(random.randint(1, WISHES // 3)))
            account = self.send(wishes)
        assert self.server.process is not None
        assert self.server.process.wait(10) == -signal.SIGKILL
        self.server.kill()
        return account

    def inspect(self) -> None:
        """What the dead server left on disk agrees with what clients hold, and its audit trail is whole."""
        listed = self.server.certificates()
        check_ledger(listed, self.received)
        self.server.run("audit", "verify")


def check_ledger(listed: list[dict[str, Any]], received: dict[str, int]) -> None:
    """I1 delivered certificates are on record, I2 no serial twice, and no transaction with two certificates."""
    serials = Counter(row["serial"] for row in listed)
    assert [serial for serial, count in serials.items() if count > 1] == []
    done = [row for row in listed if row["state"] in ("signed", "issued")]
    by_transaction = Counter(row["transaction_id"] for row in done)
    assert [transaction for transaction, count in by_transaction.items() if count > 1] == []
    on_record = {row["transaction_id"]: int(row["serial"], 16) for row in done}
    missing = {transaction: serial for transaction, serial in received.items() if on_record.get(transaction) != serial}
    assert missing == {}


@pytest.mark.crash
def test_crash_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = CrashRounds(tmp_path)
    schedule = [label for _ in range(ROUNDS) for label in (*LABELS, RANDOM)][:ROUNDS]
    for number, label in enumerate(schedule, 1):
        rounds.play(label)
        if number % (len(LABELS) + 1) == 0:
            rounds.inspect()
    rounds.start(RANDOM)
    rounds.settle()
    rounds.inspect()
    assert rounds.server.stop() == 0
    with capsys.disabled():
        print(
            f"\n{ROUNDS} crashes, at {len(LABELS)} labelled steps and at random: {len(rounds.received)} certificates"
            f" received, all on record; slowest start {max(rounds.starts):.2f} s"
        )


@pytest.mark.parametrize(
    ("listed", "received"),
    [
        ([], {"t": 1}),
        ([{"serial": "02", "state": "issued", "transaction_id": "t"}], {"t": 1}),
        ([{"serial": "01", "state": "intended", "transaction_id": "t"}], {"t": 1}),
        ([{"serial": "01", "state": "issued", "transaction_id": name} for name in "tu"], {}),
        ([{"serial": serial, "state": "issued", "transaction_id": "t"} for serial in ("01", "02")], {}),
    ],
    ids=["lost", "other-serial", "never-signed", "serial-twice", "two-certificates"],
)
def test_crash_check_sees_its_faults(listed: list[dict[str, Any]], received: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        check_ledger(listed, received)
