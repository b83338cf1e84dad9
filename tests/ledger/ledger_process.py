"""A process of its own beside others on one ledger: python ledger_process.py URL HEADS; prints what it won.

For every line `MODE COUNT` on its input it makes that many attempts. `same`: opens the transactions 0 .. COUNT-1, as
the other processes do. `own`: both commits of its own. `mint`: keeps a challenge, 50 at most. `lease`: takes the lease.
All others are names of one challenge each, which every request comes with: `once`, `five` with five uses, and `again`,
where all requests are one device's, and only their transaction ids differ. `storm` never ends: it mints a round of
COUNT challenges of two uses, spends each twice, says so and goes on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scep_server.audit import AuditTrail, EventLog
from scep_server.errors import ChallengesFull, Refusal
from scep_server.ledger import Ledger, open_ledger
from scep_server.types import OpenChallenge, Opening
from tests.contracts.ledger_contract import AUDIT_KEY, NOW, issue, opening, told


async def attempt(ledger: Ledger, mode: str, number: int) -> bool:
    """True when this process opened the entry, kept the challenge or took the lease."""
    if mode == "own":
        await issue(ledger)
        return True
    if mode == "mint":
        return await minted(ledger, os.urandom(32), ceiling=50)
    if mode == "lease":
        return await ledger.lease("work", f"{os.getpid()}:{number}", NOW, NOW + timedelta(seconds=30))
    try:
        return (await ledger.open(order(mode, number), told("certificate.intended"))).intent is not None
    except Refusal:
        return False


def order(mode: str, number: int) -> Opening:
    if mode == "same":
        return opening(f"same-{number}")
    mac = mode.encode().ljust(32)
    if mode == "again":
        return opening(consumes=(mac,))
    key = os.urandom(32)
    return opening(signer_key=key, request_hash=key, consumes=(mac,), uses=5 if mode == "five" else 1)


async def minted(ledger: Ledger, mac: bytes, uses: int = 1, ceiling: int | None = None) -> bool:
    now = datetime.now(UTC)
    challenge = OpenChallenge("jamf", mac, now, now + timedelta(hours=1), uses)
    try:
        await ledger.challenges.put([challenge], ceiling, told("challenge.minted"))
    except ChallengesFull:
        return False
    return True


async def storm(ledger: Ledger, count: int) -> None:
    while True:
        macs = [os.urandom(32) for _ in range(count)]
        await asyncio.gather(*(minted(ledger, mac, 2) for mac in macs))
        for _ in range(2):
            orders = (opening(signer_key=os.urandom(32), consumes=(mac,), uses=2) for mac in macs)
            await asyncio.gather(*(ledger.open(each, told("certificate.intended")) for each in orders))
        print("round", flush=True)


async def main(url: str, heads: str) -> None:
    quiet = EventLog(os.open(os.devnull, os.O_WRONLY))
    ledger = open_ledger(url, audit=AuditTrail(AUDIT_KEY, Path(heads), log=quiet))
    print("ready", flush=True)
    for line in sys.stdin:
        mode, count = line.split()
        if mode == "storm":
            await storm(ledger, int(count))
        won = await asyncio.gather(*(attempt(ledger, mode, number) for number in range(int(count))))
        print(won.count(True), flush=True)
    ledger.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
