"""Spending one-time challenges: each use is a unique row, taken in the commit that records what it is used for.

A MAC has as many slots as its challenge has uses: slot 0 is the MAC itself, slot k the MAC and k in two bytes. They
are taken in order and never given back. All MACs have one length, so that no slot is the slot of another.
"""

from __future__ import annotations

from typing import Final

from scep_server.errors import Reason, Refusal
from scep_server.ledger.database import Session
from scep_server.ledger.rows import Parameters, entry_of
from scep_server.types import Entry, Opening

LAST: Final = b"\xff\xff"


def spend(
    session: Session, opening: Opening, parameters: Parameters, entry_id: int
) -> tuple[Entry | None, tuple[bytes, ...]]:
    """Take a slot of each MAC for the entry just inserted. Gives the MACs whose last slot that was.

    First comes the live entry that took one for this very request, where there is one, and then the caller must undo
    what it wrote: who asks again for a lost reply takes nobody else's use. Refusal(CHALLENGE_SPENT) when all slots of a
    MAC are taken.
    """
    used_up = []
    for mac in opening.consumes:
        use = _take(session, mac, opening.uses, parameters, entry_id)
        if isinstance(use, Entry):
            return use, ()
        if use == opening.uses - 1:
            session.change(session.sql.use_up, {"mac": mac})
            used_up.append(mac)
    return None, tuple(used_up)


def slots(mac: bytes) -> Parameters:
    """The range of all slots of a MAC."""
    return {"first": mac, "last": mac + LAST}


def _take(session: Session, mac: bytes, uses: int, parameters: Parameters, entry_id: int) -> Entry | int:
    use = _next_slot(session, mac) if uses > 1 else 0
    while True:
        holder = _holder(session, mac, parameters) if use else None
        if holder is not None:
            return holder
        if use >= uses:
            raise Refusal(Reason.CHALLENGE_SPENT, "the challenge was spent by another entry", security=True)
        slot = mac + use.to_bytes(2, "big") if use else mac
        # On PostgreSQL this waits for another's uncommitted row: whoever comes second goes on to the next slot.
        if session.change(session.sql.spend, {"mac": slot, "entry_id": entry_id}):
            return use
        use += 1


def _next_slot(session: Session, mac: bytes) -> int:
    row = session.one(session.sql.last_slot, slots(mac))
    return 0 if row is None else int.from_bytes(row[0][len(mac) :], "big") + 1


def _holder(session: Session, mac: bytes, parameters: Parameters) -> Entry | None:
    row = session.one(session.sql.slot_holder, {**parameters, **slots(mac)})
    return None if row is None else entry_of(row)
