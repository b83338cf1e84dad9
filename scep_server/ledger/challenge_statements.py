"""Statements about one-time challenges: spending their uses, keeping the open ones."""

from __future__ import annotations

from sqlalchemy import ClauseElement, ColumnElement, bindparam, func, insert, literal_column, select, text, update
from sqlalchemy import delete as delete_from
from sqlalchemy.engine import Dialect

from scep_server.ledger.compiling import insert_for, values_of
from scep_server.ledger.schema import ENTRY_COLUMNS, challenge_lookup, entry, open_challenge, spent_challenge

SWEEP = 500
"""Challenges that one statement of a sweep touches, so that nobody waits long behind it."""

SAME_REQUEST = ("integration", "signer_key", "request_key", "request_hash", "message_type")
"""What an entry and a repetition of its request have in common."""

SLOTS = spent_challenge.c.mac.between(bindparam("first"), bindparam("last"))
"""All uses of one MAC (spending.slots)."""


def spending(dialect: Dialect) -> dict[str, ClauseElement]:
    """What `open` runs when a challenge is consumed."""
    holder = (
        select(*ENTRY_COLUMNS)
        .where(entry.c.id.in_(select(spent_challenge.c.entry_id).where(SLOTS)))
        .where(*(entry.c[name] == bindparam(name) for name in SAME_REQUEST))
        .where(entry.c.pickup_until > bindparam("requested_at"), text("state <> 'failed'"))
    )
    add_slot = insert_for(dialect)(spent_challenge).values(values_of(spent_challenge))
    return {
        "spend": add_slot.on_conflict_do_nothing(),
        "last_slot": select(spent_challenge.c.mac)
        .where(SLOTS)
        .order_by(spent_challenge.c.mac.desc())
        .suffix_with(text("LIMIT 1")),
        "slot_holder": holder.order_by(entry.c.id.desc()).suffix_with(text("LIMIT 1")),
        "use_up": delete_from(open_challenge).where(open_challenge.c.mac == bindparam("mac")),
    }


def challenges() -> dict[str, ClauseElement]:
    """What LedgerChallenges runs."""
    columns = [column for column in open_challenge.c if column.name != "noted"]
    of_integration = open_challenge.c.integration == bindparam("integration")
    unexpired = open_challenge.c.expires_at > bindparam("now")
    expired = open_challenge.c.expires_at <= bindparam("end")
    batch = text(f"LIMIT {SWEEP}")

    def these(noted: str) -> ColumnElement[bool]:
        macs = select(open_challenge.c.mac).where(text(noted), expired).suffix_with(batch)
        # The predicate stands outside once more: PostgreSQL judges by it again what another process changed meanwhile.
        # The plus keeps SQLite from looking there by the index, which would be through all that have not expired.
        return open_challenge.c.mac.in_(macs) & text(f"+{noted}")

    return {
        "add_challenge": insert(open_challenge).values(values_of(open_challenge)),
        "add_lookup": insert(challenge_lookup).values(values_of(challenge_lookup)),
        "challenge": select(*columns).where(open_challenge.c.mac == bindparam("mac"), of_integration),
        "spender": select(spent_challenge.c.entry_id)
        .join(entry, entry.c.id == spent_challenge.c.entry_id)
        .where(SLOTS, entry.c.integration == bindparam("integration"))
        .order_by(spent_challenge.c.mac.desc())
        .suffix_with(text("LIMIT 1")),
        "sealed_challenges": select(*columns)
        .join(challenge_lookup, challenge_lookup.c.mac == open_challenge.c.mac)
        .where(challenge_lookup.c.lookup == bindparam("lookup"), of_integration)
        # The plus: SQLite is to begin with the lookup, not with all that have not expired.
        .where(text("+open_challenge.expires_at > :now AND sealed <> ''"))
        .order_by(challenge_lookup.c.minted_at.desc())
        .suffix_with(text("LIMIT 2")),
        "unspent": select(func.count()).select_from(open_challenge).where(of_integration, unexpired),
        "lock_challenges": select(func.pg_advisory_xact_lock(bindparam("space"), bindparam("integration_number"))),
        "note_expired": update(open_challenge).where(these("noted = 0")).values(noted=literal_column("1")),
        "forget_expired": delete_from(open_challenge).where(these("noted = 1")),
    }
