"""Every statement of the ledger, in Core, compiled once per dialect to the driver's own SQL.

Core's execution costs some 30 microseconds a statement on top of the driver's 10 and an enrolment runs a dozen, so the
compiled text runs on the driver's connection. Constants are literals, because a partial index only serves a query that
repeats its predicate.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ClauseElement, bindparam, case, func, insert, literal_column, null, select, text, tuple_, update
from sqlalchemy import delete as delete_from
from sqlalchemy.engine import Dialect

from scep_server.ledger.challenge_statements import challenges, spending
from scep_server.ledger.compiling import Statement, compiled, constant, insert_for, values_of
from scep_server.ledger.schema import (
    ENTRY_COLUMNS,
    UNFINISHED,
    crl,
    entry,
    event,
    integration,
    lease,
    mark,
    meta,
    notice,
)

PAGE = text("LIMIT 256")
"""Listings read page by page, each a short read of its own, so that a slow reader holds up no checkpoint."""


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
    move_pending: Statement
    approve: Statement
    sign: Statement
    sign_intended: Statement
    release: Statement
    reject: Statement
    fail: Statement
    revoke: Statement
    withdraw: Statement
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


def compile_statements(dialect: Dialect) -> Statements:
    """All statements for sqlite or postgresql."""
    parts = {
        **_entry_reads(dialect),
        **_entry_writes(dialect),
        **spending(dialect),
        **_revocation(dialect),
        **_integration(),
        **_event(),
        **challenges(),
        **_notice(dialect),
        **_lease(dialect),
    }
    return Statements(**{name: compiled(statement, dialect) for name, statement in parts.items()})


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
        "add_meta": insert_for(dialect)(meta).values(values_of(meta)).on_conflict_do_nothing(),
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
    upsert = insert_for(dialect)
    this = entry.c.id == bindparam("entry_id")
    issued_columns = ("issuer_id", "serial", "crl_shard", "not_before", "not_after", "tbs")
    opened = values_of(
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
        upsert(entry).values({**opened, "newest": literal_column("1"), "note": constant("")}).on_conflict_do_nothing()
    )
    unsigned = (
        this,
        entry.c.tbs == bindparam("signed_tbs", type_=entry.c.tbs.type),
        entry.c.certificate.is_(None),
    )
    # The sealed request is kept until nobody needs to be told about it any more.
    still_needed = case(
        (bindparam("new_state", type_=entry.c.state.type) == constant("issued"), null()), else_=entry.c.request
    )
    signed = {"tbs": null(), "request": still_needed, **values_of(entry, "certificate", "issued_at")}
    return {
        # SQLite tells the new id anyway, and RETURNING would cost it a quarter of the INSERT.
        "open_entry": open_entry if dialect.name == "sqlite" else open_entry.returning(entry.c.id),
        "retire_entry": update(entry).where(this).values(newest=literal_column("0")),
        "move_pending": update(entry)
        .where(this, text("state = 'pending'"))
        .values(values_of(entry, "transaction_id"))
        .returning(*ENTRY_COLUMNS),
        "approve": update(entry)
        .where(this, text("state = 'pending'"))
        .values(
            {
                **values_of(entry, *issued_columns),
                "state": constant("intended"),
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
        .values(state=constant("issued"), request=null())
        .returning(*ENTRY_COLUMNS),
        "reject": update(entry)
        .where(this, text("state = 'pending'"))
        .values(state=constant("failed"), request=null(), note=bindparam("note")),
        "fail": update(entry)
        .where(this, text("state IN ('pending', 'intended')"))
        .values(state=constant("failed"), request=null(), note=bindparam("note")),
    }


def _revocation(dialect: Dialect) -> dict[str, ClauseElement]:
    upsert = insert_for(dialect)
    shard = (crl.c.issuer_id == bindparam("issuer_id"), crl.c.shard == bindparam("shard"))
    # An entry leaves only after it stood on a CRL made after its certificate ended (RFC 5280 section 3.3, R79). One
    # revoked after `at` is listed too: the clock of the host that revoked it may be ahead of the publisher's.
    last_listing = (
        select(func.max(crl.c.this_update)).where(*shard, crl.c.this_update < bindparam("at")).scalar_subquery()
    )
    revocation = update(entry).values(state=constant("revoked"), **values_of(entry, "revoked_at", "revocation_reason"))
    return {
        "revoke": revocation.where(
            entry.c.issuer_id == bindparam("of_issuer"),
            entry.c.serial == bindparam("of_serial"),
            entry.c.revoked_at.is_(None),
        ).returning(*ENTRY_COLUMNS),
        "withdraw": revocation.where(entry.c.id == bindparam("entry_id"), text("state = 'signed'")).returning(
            *ENTRY_COLUMNS
        ),
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
        "add_crl": insert(crl).values(values_of(crl)),
        "prune_crls": delete_from(crl).where(*shard, crl.c.number < bindparam("number")),
    }


def _integration() -> dict[str, ClauseElement]:
    named = integration.c.name == bindparam("of_name")
    changed = values_of(integration, "challenge", "options", "settings", "enabled", "updated_at")
    return {
        "integrations": select(*integration.c).order_by(integration.c.name),
        "add_integration": insert(integration).values(values_of(integration)),
        "replace_integration": update(integration)
        .where(named, integration.c.version == bindparam("expected"))
        .values(**changed, version=integration.c.version + literal_column("1")),
        "delete_integration": delete_from(integration).where(named),
    }


def _event() -> dict[str, ClauseElement]:
    of_writer = event.c.writer == bindparam("writer")
    later = tuple_(event.c.writer, event.c.seq) > tuple_(bindparam("writer"), bindparam("seq"))
    return {
        "add_event": insert(event).values(values_of(event)),
        "events_after": select(*event.c).where(of_writer, event.c.seq > bindparam("seq")).order_by(event.c.seq),
        "event_mac": select(event.c.mac).where(of_writer, event.c.seq == bindparam("seq")),
        "events_page": select(*event.c).where(later).order_by(event.c.writer, event.c.seq).suffix_with(PAGE),
    }


def _notice(dialect: Dialect) -> dict[str, ClauseElement]:
    this = notice.c.id == bindparam("notice_id")
    add = insert_for(dialect)(notice).values(values_of(notice))
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
    wanted = insert_for(dialect)(lease).values(values_of(lease))
    return {
        "take_lease": wanted.on_conflict_do_update(
            index_elements=[lease.c.name],
            set_={"holder": wanted.excluded.holder, "until": wanted.excluded.until},
            where=(lease.c.holder == wanted.excluded.holder) | (lease.c.until <= bindparam("now")),
        ),
        "end_lease": delete_from(lease).where(lease.c.name == bindparam("name"), lease.c.holder == bindparam("holder")),
    }
