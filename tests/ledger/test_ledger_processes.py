"""Three processes on one ledger (F14, N17, R74): one entry a transaction or a challenge, one chain a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ledger_contract import AUDIT_KEY, OpenLedger

from scep_server.audit import verify

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


def test_three_processes(ledger_url: str, tmp_path: Path, open_it: OpenLedger) -> None:
    rounds = [("same", 40), ("challenge", 66), ("own", 30)]
    assert race(ledger_url, tmp_path / "heads", rounds) == [40, 1, 90]
    ledger = open_it()
    assert len(list(ledger.entries())) == 131
    assert list(verify(ledger.events(), AUDIT_KEY, [tmp_path / "heads"], ledger.id)) == []
    assert len(list((tmp_path / "heads").iterdir())) == 3
