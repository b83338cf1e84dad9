"""Three processes on one ledger (F14, N17, R74): one entry a transaction or a challenge's use, one chain a process."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ledger_contract import AUDIT_KEY, OpenLedger

from scep_server.audit import verify
from scep_server.types import OpenChallenge

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
