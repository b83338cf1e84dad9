"""Three processes on one ledger (F14, N17, R74): one entry a transaction or a challenge's use, one chain a process."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import create_engine, text

from scep_server.audit import verify
from scep_server.types import OpenChallenge
from tests.contracts.ledger_contract import AUDIT_KEY, OpenLedger

SCRIPT = Path(__file__).with_name("ledger_process.py")


def race(url: str, heads: Path, rounds: list[tuple[str, int]]) -> list[int]:
    """How many entries three processes opened together, racing, in each round."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, str(SCRIPT), url, str(heads)], **pipes) for _ in range(3)]
    won = []
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
        for mode, count in rounds:
            for process in processes:
                process.stdin.write(f"{mode} {count}\n")
                process.stdin.flush()
            won.append(sum(int(process.stdout.readline()) for process in processes))
    finally:
        for process in processes:
            process.communicate(timeout=20)
    return won


async def test_three_processes(ledger_url: str, tmp_path: Path, open_it: OpenLedger) -> None:
    ledger = open_it()
    now = datetime.now(UTC)
    once, five, again = (name.ljust(32) for name in (b"once", b"five", b"again"))
    uses = {once: 1, five: 5, again: 1}
    kept = [OpenChallenge("intune", mac, now, now + timedelta(hours=1), number) for mac, number in uses.items()]
    await ledger.challenges.put(kept, None, ())
    rounds = [("same", 40), ("once", 66), ("five", 66), ("again", 66), ("own", 30), ("mint", 40), ("lease", 20)]
    assert race(ledger_url, tmp_path / "heads", rounds) == [40, 1, 5, 1, 90, 50, 1]
    assert len(list(ledger.entries())) == 137
    assert await ledger.challenges.unspent("jamf") == 50
    assert await ledger.challenges.unspent("intune") == 0
    assert list(verify(ledger.events(), AUDIT_KEY, [tmp_path / "heads"], ledger.id)) == []
    assert len(list((tmp_path / "heads").iterdir())) == 4


def test_killed_between_two_uses(ledger_url: str, tmp_path: Path, open_it: OpenLedger) -> None:
    """Whatever a kill leaves: a use for each entry, and an open challenge exactly where a use is left (N17)."""
    heads = tmp_path / "heads"
    for _ in range(4):
        arguments = [sys.executable, str(SCRIPT), ledger_url, str(heads)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("storm 8\n")
            process.stdin.flush()
            assert process.stdout.readline() == "round\n"
            time.sleep(random.uniform(0, 0.02))  # not to wait for anything: the kill is to come at any moment
            process.kill()
    ledger = open_it()
    rows = (
        sql_rows(ledger_url, "SELECT mac FROM spent_challenge"),
        sql_rows(ledger_url, "SELECT mac FROM open_challenge"),
    )
    spent, still_open = ({bytes(row[0]) for row in each} for each in rows)
    assert len(spent) == len(list(ledger.entries())) >= 64
    started = {mac for mac in spent if len(mac) == 32}
    ended = {mac[:32] for mac in spent if len(mac) == 34}
    assert ended <= started
    assert ended.isdisjoint(still_open)
    assert started - ended <= still_open
    assert list(verify(ledger.events(), AUDIT_KEY, [heads], ledger.id)) == []


def sql_rows(url: str, query: str) -> Sequence[Sequence[object]]:
    with create_engine(url).connect() as connection:
        return connection.execute(text(query)).all()
