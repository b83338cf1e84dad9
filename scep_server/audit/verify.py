"""Verification of the whole trail: every chain against the key, every chain's end against its head.

Each finding names the writer and the events. An event whose neighbour is gone cannot be checked by it any more, so it
is named with the gap. A chain recomputed without the key fails in every event.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from scep_server.audit.chain import ChainKeys, chain_keys, first_mac, next_mac
from scep_server.audit.heads import Head, HeadAltered, read_head, slot_paths
from scep_server.audit.record import AuditRow

PROGRESS_EVERY = 1000

PLACE = re.compile(r'\{"writer":"([0-9a-f]{16})","seq":([0-9]{1,18}),')
"""Where an event says it stands; body_of writes exactly this."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as we wrote it."""

    writer: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        where = f"event {self.first}" if self.first == self.last else f"events {self.first} to {self.last}"
        return f"writer {self.writer}, {where}: {self.text}" if self.first else f"{self.writer}: {self.text}"


ALTERED = "altered: its MAC does not fit (or the chain was recomputed without the audit key)"
MOVED = "moved: it says it is another event"
MISSING = "missing: removed from the ledger"
UNLINKED = "cannot be checked: its predecessor is missing"
CUT = "missing: the tail was cut, the head remembers it"
NOT_THE_HEADS = "is not the event that the head remembers"
NO_HEAD = "has events but no head: the head was removed, so a cut tail could not be seen"


def verify(
    rows: Iterable[AuditRow],
    key: bytes,
    heads: Sequence[Path],
    ledger: str,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Finding]:
    """Findings as they turn up; none when the trail is whole.

    rows: all events by writer and seq; read only after the heads are, so that a running server does not look like a
    cut tail. heads: the head directories of every machine that writes to this ledger. progress: told the number of
    events seen, now and then.
    """
    keys = chain_keys(key)
    known: dict[str, Head] = {}
    for directory in heads:
        yield from _read_heads(directory, keys, ledger, known)
    counted = _count(rows, progress)
    for writer, chain in groupby(counted, key=attrgetter("writer")):
        yield from _merged(_verify_chain(chain, keys, ledger, writer, known.pop(writer, None)))
    for head in known.values():
        if head.seq:
            yield Finding(head.writer, 1, head.seq, CUT)


def _read_heads(directory: Path, keys: ChainKeys, ledger: str, known: dict[str, Head]) -> Iterator[Finding]:
    for path in slot_paths(directory):
        try:
            head = read_head(path, keys.head)
        except (HeadAltered, UnicodeDecodeError):
            yield Finding(f"head {path.name}", 0, 0, "altered, or written under another audit key")
            continue
        except OSError as error:
            yield Finding(f"head {path.name}", 0, 0, f"cannot be read: {error.strerror}")
            continue
        if head is None:
            continue
        if head.ledger != ledger:
            yield Finding(f"head {path.name}", 0, 0, "belongs to another ledger")
        elif head.writer not in known or known[head.writer].seq < head.seq:
            known[head.writer] = head


def _count(rows: Iterable[AuditRow], progress: Callable[[int], None] | None) -> Iterator[AuditRow]:
    number = 0
    for number, row in enumerate(rows, 1):
        if progress is not None and number % PROGRESS_EVERY == 0:
            progress(number)
        yield row
    if progress is not None:
        progress(number)


def _verify_chain(
    chain: Iterable[AuditRow], keys: ChainKeys, ledger: str, writer: str, head: Head | None
) -> Iterator[Finding]:
    """One writer's events, in order of seq."""
    stored = computed = first_mac(keys.event, ledger, writer)
    linked = True
    seq = 0
    for row in chain:
        if row.seq != seq + 1:
            yield Finding(writer, seq + 1, row.seq - 1, MISSING)
            linked = False
        seq = row.seq
        # The predecessor's MAC as stored and as it should be: an altered event is named once, not its follower too.
        right = next_mac(keys.event, computed, row.body)
        text = _judge(row, linked, right, next_mac(keys.event, stored, row.body) if stored != computed else right)
        if text is not None:
            yield Finding(writer, seq, seq, text)
        if head is not None and seq == head.seq and not hmac.compare_digest(row.mac, head.mac):
            yield Finding(writer, seq, seq, NOT_THE_HEADS)
        stored = row.mac
        computed = right if linked else row.mac
        linked = True
    if head is None:
        yield Finding(f"writer {writer}", 0, 0, NO_HEAD)
    elif head.seq > seq:
        yield Finding(writer, seq + 1, head.seq, CUT)


def _judge(row: AuditRow, linked: bool, right: bytes, right_by_stored: bytes) -> str | None:
    """What is wrong with one event, or None."""
    place = PLACE.match(row.body)
    if place is not None and place.groups() != (row.writer, str(row.seq)):
        return MOVED
    if not linked:
        return UNLINKED
    if hmac.compare_digest(row.mac, right) or hmac.compare_digest(row.mac, right_by_stored):
        return None
    return ALTERED


def _merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Neighbours with the same text as one finding: a recomputed chain of a million events is one line."""
    waiting: Finding | None = None
    for finding in findings:
        if waiting is not None and waiting.first and waiting.text == finding.text and waiting.last + 1 == finding.first:
            waiting = Finding(finding.writer, waiting.first, finding.last, finding.text)
            continue
        if waiting is not None:
            yield waiting
        waiting = finding
    if waiting is not None:
        yield waiting
