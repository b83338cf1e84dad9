"""Record before return (K5): what strace saw, in the order the kernel did it.

Between one reply and the next are two writes to the ledger, each with a completed fsync or fdatasync after it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import find_program
from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.replies import read_reply
from tests.e2e.server import ScepServer

ENROLMENTS = 100
CALLS = "fsync,fdatasync,sendto,sendmsg,write,writev,pwrite64,pwritev"
LEDGER = r"ledger\.sqlite3-wal"
"""Where a commit is made durable. The main file is only written by checkpoints, which copy what the log still holds."""
SYNC = re.compile(rf"(?:fsync|fdatasync)\(\d+<[^>]*{LEDGER}")
WRITE = re.compile(rf"(?:write|pwrite64|writev|pwritev)\(\d+<[^>]*{LEDGER}")
REPLY = re.compile(r"(?:sendto|sendmsg|write|writev)\(\d+<TCP.*HTTP/1\.1 200 .*x-pki-message")
UNFINISHED = re.compile(r"^(\d+) .*<unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>")
"""strace fills up a process id of fewer than five digits with spaces."""


def events(lines: list[str]) -> list[str]:
    """`write`, `sync` and `reply`, each where it counts: writes and replies when begun, syncs when completed."""
    found: list[str] = []
    syncing: set[str] = set()
    for line in lines:
        thread = line.split(maxsplit=1)[0]
        if SYNC.search(line):
            if UNFINISHED.match(line):
                syncing.add(thread)
            else:
                found.append("sync")
        elif RESUMED.match(line) and thread in syncing:
            syncing.discard(thread)
            found.append("sync")
        elif WRITE.search(line):
            found.append("write")
        elif REPLY.search(line):
            found.append("reply")
    return found


def premature(seen: list[str]) -> list[int]:
    """Numbers of the replies that left before both commits of their enrolment were written and synced. Beside them the
    server's own work may be at a commit that no reply waits for, most of all when it has just started.
    """
    bad, commits, dirty, number = [], 0, False, 0
    for event in seen:
        if event == "write":
            dirty = True
        elif event == "sync":
            commits, dirty = commits + dirty, False
        else:
            if commits < 2:
                bad.append(number)
            commits, number = 0, number + 1
    return bad


def test_crash_order_no_reply_before_its_record_is_durable(tmp_path: Path) -> None:
    strace, trace = find_program("strace", "strace"), tmp_path / "trace"
    prefix = (str(strace), "-D", "-f", "-yy", "-s", "160", "-e", f"trace={CALLS}", "-o", str(trace))
    device = Device.named("order")
    with ScepServer(tmp_path / "data", "p256", prefix=prefix) as server:
        recipient = server.ra
        for _ in range(ENROLMENTS):
            answer = wire.post(server.url, pkcs_req(device, recipient, server.secret))
            assert read_reply(answer.body).status == "SUCCESS"
    seen = events(trace.read_text(errors="replace").splitlines())
    assert seen.count("reply") == ENROLMENTS
    assert premature(seen) == []


@pytest.mark.parametrize(
    ("seen", "bad"),
    [
        (["write", "sync", "write", "sync", "reply"], []),
        (["write", "sync", "write", "reply", "sync"], [0]),
        (["write", "sync", "reply"], [0]),
        (["reply"], [0]),
        (["write", "sync", "sync", "reply"], [0]),
        (["write", "sync", "write", "sync", "write", "reply", "sync"], []),
        (["write", "sync", "write", "sync", "reply", "write", "reply", "sync"], [1]),
    ],
    ids=["two-commits", "second-not-synced", "one-commit", "nothing-recorded", "synced-twice", "another-s", "the-next"],
)
def test_crash_order_sees_its_fault(seen: list[str], bad: list[int]) -> None:
    assert premature(seen) == bad


@pytest.mark.parametrize("pad", ["", "    "], ids=["long-pid", "short-pid"])
def test_crash_order_counts_a_sync_when_it_is_done(pad: str) -> None:
    lines = [
        "7 pwrite64(9</d/ledger.sqlite3-wal>, ...) = 4096",
        "7 fdatasync(9</d/ledger.sqlite3-wal> <unfinished ...>",
        '8 write(11<TCP:[::1:1->::1:2]>, "HTTP/1.1 200 OK\\r\\nContent-Type: application/x-pki-message"...) = 9',
        f"7 {pad}<... fdatasync resumed>) = 0",
    ]
    assert events(lines) == ["write", "reply", "sync"]
