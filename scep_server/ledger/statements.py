"""Every statement of the ledger, in Core, compiled once per dialect to the driver's own SQL.

Core's execution costs some 30 microseconds a statement on top of the driver's 10 and an enrolment runs a dozen, so the
compiled text runs on the driver's connection. Constants are literals, because a partial index only serves a query that
repeats its predicate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Table,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    null,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Dialect

from scep_server.ledger.schema import (
    UNFINISHED,
    challenge_lookup,
    crl,
    entry,
    event,
    integration,
    lease,
    mark,
    meta,
    notice,
    open_challenge,
    spent_challenge,
)

PAGE = text("LIMIT 256")
"""Listings read page by page, each a short read of its own, so that a slow reader holds up no checkpoint."""

SWEEP = 500
"""Challenges that one statement of a sweep touches, so that nobody waits long behind it."""

ENTRY_COLUMNS = tuple(column for column in entry.c if column.name not in {"newest", "request"})
"""What every read of an entry selects; the CSR, which holds a challenge, is read by one statement only."""

SAME_REQUEST = ("integration", "signer_key", "request_key", "request_hash", "message_type")
"""What an entry and a repetition of its request have in common."""

Parameters = Mapping[str, Any]


class Statement(NamedTuple):
    """SQL text for one driver, and how it takes its parameters: by position, which costs SQLite half of by name."""

    text: str
    values: Callable[[Parameters], Sequence[Any]]


class Statements(NamedTuple):
    """Of one dialect."""

    meta: Statement
    add_meta: Statement
    entry: Statement
    request: Statement
    entry_for_update: Statement
    newest_entry: Statement
    newest_entry_for_update: Statement
    entry_by_serial: Statement
    entries_by_serial: Statement
    entries_page: Statement
    unfinished_page: Statement
    unfinished: Statement
    open_entry: Statement
    retire_entry: Statement
    spend: Statement
    last_slot: Statement
    slot_holder: Statement
    use_up: Statement
    approve: Statement
    sign: Statement
    sign_intended: Statement
    release: Statement
    reject: Statement
    fail: Statement
    revoke: Statement
    revoked: Statement
    raise_mark: Statement
    mark: Statement
    newest_crl: Statement
    add_crl: Statement
    prune_crls: Statement
    integrations: Statement
    add_integration: Statement
    replace_integration: Statement
    delete_integration: Statement
    add_event: Statement
    events_after: Statement
    event_mac: Statement
    events_page: Statement
    add_challenge: Statement
    add_lookup: Statement
    challenge: Statement
    spender: Statement
    sealed_challenges: Statement
    unspent: Statement
    lock_challenges: Statement
    note_expired: Statement
    forget_expired: Statement
    add_notice: Statement
    due_notices: Statement
    drop_notice: Statement
    delay_notice: Statement
    take_lease: Statement
    end_lease: Statement


def _value(name: str) -> ColumnElement[Any]:
    """A constant in the SQL text itself."""
    return literal_column(f"'{name}'")


def _values(table: Table, *names: str) -> dict[str, Any]:
    return {name: bindparam(name) for name in names or tuple(column.name for column in table.c)}


def compile_statements(dialect: Dialect) -> Statements:
    """All statements for sqlite or postgresql."""
    parts = {
        **_entry_reads(dialect),
        **_entry_writes(dialect),
        **_spending(dialect),
        **_revocation(dialect),
        **_integration(),
        **_event(),
        **_challenge(),
        **_notice(dialect),
        **_lease(dialect),
    }
    return Statements(**{name: _compiled(statement, dialect) for name, statement in parts.items()})


def _compiled(statement: ClauseElement, dialect: Dialect) -> Statement:
    compiled = statement.compile(dialect=dialect)
    names: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
    if len(names) > 1:
        return Statement(str(compiled), itemgetter(*names))
    return Statement(str(compiled), lambda parameters: [parameters[name] for name in names])


def _entry_reads(dialect: Dialect) -> dict[str, ClauseElement]:
    by_id = select(*ENTRY_COLUMNS).where(entry.c.id == bindparam("id"))
    newest = select(*ENTRY_COLUMNS).where(
        entry.c.integration == bindparam("integration"),
        entry.c.transaction_id == bindparam("transaction_id"),
        text("newest = 1"),
    )
    page = select(*ENTRY_COLUMNS).where(entry.c.id > bindparam("after")).order_by(entry.c.id)
    serial = entry.c.serial == bindparam("serial")
    past = text("(state <> 'pending' OR pickup_until <= :now)")
    return {
        "meta": select(meta.c.value).where(meta.c.name == bindparam("name")),
        "add_meta": _insert_for(dialect)(meta).values(_values(meta)).on_conflict_do_nothing(),
        "entry": by_id,
        "request": select(entry.c.request).where(entry.c.id == bindparam("id")),
        "entry_for_update": by_id.with_for_update(),
        "newest_entry": newest,
        "newest_entry_for_update": newest.with_for_update(),
        "entry_by_serial": select(*ENTRY_COLUMNS).where(entry.c.issuer_id == bindparam("issuer_id"), serial),
        "entries_by_serial": select(*ENTRY_COLUMNS).where(serial).order_by(entry.c.id),
        "entries_page": page.suffix_with(PAGE),
        "unfinished_page": page.where(text(UNFINISHED)).suffix_with(PAGE),
        "unfinished": select(*ENTRY_COLUMNS).where(text(UNFINISHED), past).order_by(entry.c.id),
    }


def _entry_writes(dialect: Dialect) -> dict[str, ClauseElement]:
    upsert = _insert_for(dialect)
    this = entry.c.id == bindparam("entry_id")
    issued_columns = ("issuer_id", "serial", "crl_shard", "not_before", "not_after", "tbs")
    opened = _values(
        entry,
        *(
            c.name
            for c in entry.c
            if c.name not in {"id", "newest", "certificate", "issued_at", "revoked_at", "revocation_reason", "note"}
        ),
    )
    # A certificate found signed for an entry revoked meanwhile is kept too; it stays revoked.
    signed_state = case(
        (text("state = 'intended'"), bindparam("new_state", type_=entry.c.state.type)), else_=entry.c.state
    )
    open_entry = (
        upsert(entry).values({**opened, "newest": literal_column("1"), "note": _value("")}).on_conflict_do_nothing()
    )
    unsigned = (
        this,
        entry.c.tbs == bindparam("signed_tbs", type_=entry.c.tbs.type),
        entry.c.certificate.is_(None),
    )
    # The sealed request is kept until nobody needs to be told about it any more.
    still_needed = case(
        (bindparam("new_state", type_=entry.c.state.type) == _value("issued"), null()), else_=entry.c.request
    )
    signed = {"tbs": null(), "request": still_needed, **_values(entry, "certificate", "issued_at")}
    return {
        # SQLite tells the new id anyway, and RETURNING would cost it a quarter of the INSERT.
        "open_entry": open_entry if dialect.name == "sqlite" else open_entry.returning(entry.c.id),
        "retire_entry": update(entry).where(this).values(newest=literal_column("0")),
        "approve": update(entry)
        .where(this, text("state = 'pending'"))
        .values(
            {
                **_values(entry, *issued_columns),
                "state": _value("intended"),
                "pickup_until": func.coalesce(
                    bindparam("new_pickup_until", type_=entry.c.pickup_until.type), entry.c.pickup_until
                ),
            }
        ),
        "sign": update(entry)
        .where(*unsigned, text("state IN ('intended', 'revoked')"))
        .values(state=signed_state, **signed)
        .returning(*ENTRY_COLUMNS),
        "sign_intended": update(entry)
        .where(*unsigned, text("state = 'intended'"))
        .values(state=bindparam("new_state", type_=entry.c.state.type), **signed),
        "release": update(entry)
        .where(this, text("state = 'signed'"))
        .values(state=_value("issued"), request=null())
        .returning(*ENTRY_COLUMNS),
        "reject": update(entry)
        .where(this, text("state = 'pending'"))
        .values(state=_value("failed"), request=null(), note=bindparam("note")),
        "fail": update(entry)
        .where(this, text("state IN ('pending', 'intended')"))
        .values(state=_value("failed"), request=null(), note=bindparam("note")),
    }


def _spending(dialect: Dialect) -> dict[str, ClauseElement]:
    slots = spent_challenge.c.mac.between(bindparam("first"), bindparam("last"))
    holder = (
        select(*ENTRY_COLUMNS)
        .where(entry.c.id.in_(select(spent_challenge.c.entry_id).where(slots)))
        .where(*(entry.c[name] == bindparam(name) for name in SAME_REQUEST))
        .where(entry.c.pickup_until > bindparam("requested_at"), text("state <> 'failed'"))
    )
    add_slot = _insert_for(dialect)(spent_challenge).values(_values(spent_challenge))
    return {
        "spend": add_slot.on_conflict_do_nothing(),
        "last_slot": select(spent_challenge.c.mac)
        .where(slots)
        .order_by(spent_challenge.c.mac.desc())
        .suffix_with(text("LIMIT 1")),
        "slot_holder": holder.order_by(entry.c.id.desc()).suffix_with(text("LIMIT 1")),
        "use_up": delete_from(open_challenge).where(open_challenge.c.mac == bindparam("mac")),
    }


def _revocation(dialect: Dialect) -> dict[str, ClauseElement]:
    upsert = _insert_for(dialect)
    shard = (crl.c.issuer_id == bindparam("issuer_id"), crl.c.shard == bindparam("shard"))
    # An entry leaves only after it stood on a CRL made after its certificate ended (RFC 5280 section 3.3, R79). One
    # revoked after `at` is listed too: the clock of the host that revoked it may be ahead of the publisher's.
    last_listing = (
        select(func.max(crl.c.this_update)).where(*shard, crl.c.this_update < bindparam("at")).scalar_subquery()
    )
    return {
        "revoke": update(entry)
        .where(
            entry.c.issuer_id == bindparam("of_issuer"),
            entry.c.serial == bindparam("of_serial"),
            entry.c.revoked_at.is_(None),
        )
        .values(state=_value("revoked"), **_values(entry, "revoked_at", "revocation_reason"))
        .returning(*ENTRY_COLUMNS),
        "revoked": select(entry.c.serial, entry.c.revoked_at, entry.c.revocation_reason)
        .where(
            entry.c.issuer_id == bindparam("issuer_id"),
            entry.c.crl_shard == bindparam("shard"),
            text("revoked_at IS NOT NULL"),
            entry.c.not_after >= func.coalesce(last_listing, literal_column("0")),
        )
        .order_by(entry.c.revoked_at, entry.c.serial),
        "raise_mark": upsert(mark)
        .values(name=bindparam("name"), value=literal_column("1"))
        .on_conflict_do_update(index_elements=[mark.c.name], set_={"value": mark.c.value + literal_column("1")}),
        "mark": select(mark.c.value).where(mark.c.name == bindparam("name")),
        "newest_crl": select(*crl.c).where(*shard).order_by(crl.c.number.desc()).suffix_with(text("LIMIT 1")),
        "add_crl": insert(crl).values(_values(crl)),
        "prune_crls": delete_from(crl).where(*shard, crl.c.number < bindparam("number")),
    }


def _integration() -> dict[str, ClauseElement]:
    named = integration.c.name == bindparam("of_name")
    changed = _values(integration, "challenge", "options", "settings", "enabled", "updated_at")
    return {
        "integrations": select(*integration.c).order_by(integration.c.name),
        "add_integration": insert(integration).values(_values(integration)),
        "replace_integration": update(integration)
        .where(named, integration.c.version == bindparam("expected"))
        .values(**changed, version=integration.c.version + literal_column("1")),
        "delete_integration": delete_from(integration).where(named),
    }


def _event() -> dict[str, ClauseElement]:
    of_writer = event.c.writer == bindparam("writer")
    later = tuple_(event.c.writer, event.c.seq) > tuple_(bindparam("writer"), bindparam("seq"))
    return {
        "add_event": insert(event).values(_values(event)),
        "events_after": select(*event.c).where(of_writer, event.c.seq > bindparam("seq")).order_by(event.c.seq),
        "event_mac": select(event.c.mac).where(of_writer, event.c.seq == bindparam("seq")),
        "events_page": select(*event.c).where(later).order_by(event.c.writer, event.c.seq).suffix_with(PAGE),
    }


def _challenge() -> dict[str, ClauseElement]:
    columns = [column for column in open_challenge.c if column.name != "noted"]
    of_integration = open_challenge.c.integration == bindparam("integration")
    unexpired = open_challenge.c.expires_at > bindparam("now")
    slots = spent_challenge.c.mac.between(bindparam("first"), bindparam("last"))
    expired = open_challenge.c.expires_at <= bindparam("end")
    batch = text(f"LIMIT {SWEEP}")

    def these(noted: str) -> ColumnElement[bool]:
        macs = select(open_challenge.c.mac).where(text(noted), expired).suffix_with(batch)
        # The predicate stands outside once more: PostgreSQL judges by it again what another process changed meanwhile.
        # The plus keeps SQLite from looking there by the index, which would be through all that have not expired.
        return open_challenge.c.mac.in_(macs) & text(f"+{noted}")

    return {
        "add_challenge": insert(open_challenge).values(_values(open_challenge)),
        "add_lookup": insert(challenge_lookup).values(_values(challenge_lookup)),
        "challenge": select(*columns).where(open_challenge.c.mac == bindparam("mac"), of_integration),
        "spender": select(spent_challenge.c.entry_id)
        .join(entry, entry.c.id == spent_challenge.c.entry_id)
        .where(slots, entry.c.integration == bindparam("integration"))
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


def _notice(dialect: Dialect) -> dict[str, ClauseElement]:
    this = notice.c.id == bindparam("notice_id")
    add = _insert_for(dialect)(notice).values(_values(notice))
    recorded = (entry.c.certificate, entry.c.issuer_id, entry.c.serial, entry.c.not_before, entry.c.not_after)
    return {
        # The same notice is the same row, however often what it tells is tried.
        "add_notice": add.on_conflict_do_nothing(),
        "due_notices": select(*(column for column in notice.c if column.name != "due_at"), *recorded)
        .outerjoin(entry, entry.c.id == notice.c.entry_id)
        .where(notice.c.due_at <= bindparam("now"))
        .order_by(notice.c.due_at, notice.c.id)
        .suffix_with(text("LIMIT :most")),
        "drop_notice": delete_from(notice).where(this),
        "delay_notice": update(notice)
        .where(this)
        .values(due_at=bindparam("new_due_at"), tries=notice.c.tries + literal_column("1")),
    }


def _lease(dialect: Dialect) -> dict[str, ClauseElement]:
    wanted = _insert_for(dialect)(lease).values(_values(lease))
    return {
        "take_lease": wanted.on_conflict_do_update(
            index_elements=[lease.c.name],
            set_={"holder": wanted.excluded.holder, "until": wanted.excluded.until},
            where=(lease.c.holder == wanted.excluded.holder) | (lease.c.until <= bindparam("now")),
        ),
        "end_lease": delete_from(lease).where(lease.c.name == bindparam("name"), lease.c.holder == bindparam("holder")),
    }


def _insert_for(dialect: Dialect) -> Callable[[Table], Any]:
    """INSERT with ON CONFLICT, which both dialects spell alike but Core keeps apart."""
    return postgresql_insert if dialect.name == "postgresql" else sqlite_insert
