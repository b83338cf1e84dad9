"""A process of its own beside others on one ledger: python ledger_process.py URL HEADS; prints what it won.

For every line `MODE COUNT` on its input it makes that many attempts. `same`: opens the transactions 0 .. COUNT-1, as
the other processes do. `challenge`: every request with the same one-time challenge. `own`: both commits of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))

from ledger_contract import AUDIT_KEY, issue, opening, told

from scep_server.audit import AuditTrail, EventLog
from scep_server.errors import Refusal
from scep_server.ledger import Ledger, open_ledger


async def attempt(ledger: Ledger, mode: str, number: int) -> bool:
    """True when this process opened the entry."""
    if mode == "own":
        await issue(ledger)
        return True
    key = os.urandom(32)
    order = opening(f"same-{number}") if mode == "same" else opening(signer_key=key, request_hash=key, consumes=(b"m",))
    try:
        return (await ledger.open(order, told("certificate.intended"))).intent is not None
    except Refusal:
        return False


async def main(url: str, heads: str) -> None:
    quiet = EventLog(os.open(os.devnull, os.O_WRONLY))
    ledger = open_ledger(url, audit=AuditTrail(AUDIT_KEY, Path(heads), log=quiet))
    print("ready", flush=True)
    for line in sys.stdin:
        mode, count = line.split()
        won = await asyncio.gather(*(attempt(ledger, mode, number) for number in range(int(count))))
        print(won.count(True), flush=True)
    ledger.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
