"""The trail of one process: chains events for the ledger's commit, then moves the head and logs.

What cannot be audited does not happen: a head that cannot be written is LedgerUnavailable before a commit begins, and
after a commit nothing of it is released until the head is written.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from scep_server.audit.chain import chain_keys, first_mac, next_mac
from scep_server.audit.heads import Head, HeadAltered, Slot, encode_head, new_writer, read_head, slot_paths, take_slot
from scep_server.audit.log import EventLog
from scep_server.audit.record import AuditRow, body_of
from scep_server.errors import LedgerUnavailable, LedgerUnusable
from scep_server.types import Event

RowMac = Callable[[str, int], bytes | None]
"""Stored MAC of (writer, seq), or None when the ledger has no such event."""


class AuditTrail:
    """Used by the ledger's one writer thread; holds a slot from attach() to close()."""

    def __init__(self, key: bytes, heads_dir: Path, *, log: EventLog | None = None) -> None:
        self._keys = chain_keys(key)
        self._heads_dir = heads_dir
        self._log = log or EventLog()
        self._behind = False
        self._head = Head("", "", 0, b"")
        self._slot: Slot | None = None

    def attach(self, ledger: str, row_mac: RowMac) -> None:
        """Check every head against the ledger, then take a slot.

        LedgerUnusable when a head cannot be read, is altered, of another ledger, or knows of events that the ledger has
        not: then the tail was cut or the database was replaced by an older backup (F5).
        """
        for path in slot_paths(self._heads_dir):
            self._check(path, ledger, row_mac)
        self._slot = take_slot(self._heads_dir)
        head = self._slot.read(self._keys.head)
        if head is None:
            writer = new_writer()
            head = Head(ledger, writer, 0, first_mac(self._keys.event, ledger, writer))
            self._head = head
            self._write_head()
            self._slot.sync()
        self._head = head

    def _check(self, path: Path, ledger: str, row_mac: RowMac) -> None:
        try:
            head = read_head(path, self._keys.head)
        except (HeadAltered, UnicodeDecodeError) as error:
            raise LedgerUnusable(
                f"audit head {path} was altered or belongs to another audit key: restore the right key file, "
                "or move the head aside; `scep-server audit verify` will tell what is missing"
            ) from error
        except OSError as error:
            raise LedgerUnusable(
                f"audit head {path} cannot be read ({error.strerror}): a command was run as another user; "
                f"give the file to the user that serves, `chown --reference={self._heads_dir} {path}`"
            ) from error
        if head is None:
            return
        if head.ledger != ledger:
            raise LedgerUnusable(f"audit head {path} belongs to another database: check the database setting")
        if head.seq and row_mac(head.writer, head.seq) != head.mac:
            raise LedgerUnusable(
                f"the database lacks audit event {head.seq} of writer {head.writer}, which {path} remembers: it was "
                "cut or replaced by an older backup; restore the newest one, or move the head aside to accept the loss"
            )

    @property
    def writer(self) -> str:
        """Id of this process's chain."""
        return self._head.writer

    @property
    def seq(self) -> int:
        """Number of the newest committed event that the head tells of."""
        return self._head.seq

    def resume(self, rows: Iterable[AuditRow]) -> None:
        """Adopt committed rows that the head does not know yet: a crash, or an outcome that was re-read (F10).

        LedgerUnusable when they do not continue the chain.
        """
        head = self._head
        adopted = []
        for row in rows:
            expected = next_mac(self._keys.event, head.mac, row.body)
            if row.seq != head.seq + 1 or not hmac.compare_digest(expected, row.mac):
                raise LedgerUnusable(
                    f"audit event {row.seq} of writer {row.writer} does not follow its predecessor: "
                    "run `scep-server audit verify`, then restore a good backup"
                )
            head = head._replace(seq=row.seq, mac=row.mac)
            adopted.append(row)
        if adopted:
            self._move(head, adopted)

    def ready(self) -> None:
        """LedgerUnavailable unless the head of what is committed stands in its file."""
        if self._behind:
            self._write_head()

    def chain(self, events: Sequence[tuple[Event, int | None]]) -> list[AuditRow]:
        """Rows that continue the chain, for the commit; nothing moves before committed(). Pairs are event, entry id."""
        rows = []
        key, (_, writer, seq, mac) = self._keys.event, self._head
        for event, entry_id in events:
            seq += 1
            body = body_of(event, writer, seq, entry_id)
            mac = next_mac(key, mac, body)
            rows.append(AuditRow(writer, seq, body, mac))
        return rows

    def committed(self, rows: Sequence[AuditRow]) -> None:
        """Move the head to the committed rows, then log them. LedgerUnavailable when the head cannot be written."""
        if not rows:
            return
        self._move(self._head._replace(seq=rows[-1].seq, mac=rows[-1].mac), rows)

    def _move(self, head: Head, rows: Sequence[AuditRow]) -> None:
        self._head = head
        try:
            self._write_head()
        finally:
            self._log.write([row.body for row in rows])

    def _write_head(self) -> None:
        if self._slot is None:
            raise LedgerUnavailable("the audit trail is closed")
        try:
            self._slot.write(encode_head(self._head, self._keys.head))
        except OSError as error:
            self._behind = True
            raise LedgerUnavailable(f"audit head cannot be written: {error}") from error
        self._behind = False

    def close(self) -> None:
        """Give the slot back for the next process."""
        if self._slot is not None:
            self._slot.close()
            self._slot = None
