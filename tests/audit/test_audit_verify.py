"""Verification names every way to falsify the trail; each case was seen to pass unnoticed with its check taken out."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scep_server.audit import AuditRow, AuditTrail, EventLog, verify
from scep_server.audit.chain import chain_keys, first_mac, next_mac
from scep_server.errors import LedgerUnusable
from scep_server.types import Event

KEY = b"k" * 32
LEDGER = "ab" * 16
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def quiet() -> EventLog:
    return EventLog(os.open(os.devnull, os.O_WRONLY))


def record(trail: AuditTrail, count: int) -> list[AuditRow]:
    rows = trail.chain([(Event("request.refused", NOW, detail={"number": n}), n) for n in range(count)])
    trail.committed(rows)
    return rows


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    return tmp_path / "heads"


@pytest.fixture
def rows(heads: Path) -> list[AuditRow]:
    """Ten events of one writer."""
    trail = AuditTrail(KEY, heads, log=quiet())
    trail.attach(LEDGER, lambda _writer, _seq: None)
    written = [*record(trail, 4), *record(trail, 6)]
    trail.close()
    return written


def findings(rows: list[AuditRow], heads: Path, key: bytes = KEY, ledger: str = LEDGER) -> list[str]:
    return [str(finding).replace(rows[0].writer, "W") if rows else str(finding) for finding in
            verify(rows, key, [heads], ledger)]  # fmt: skip


def recomputed(rows: list[AuditRow], key: bytes) -> list[AuditRow]:
    """The whole chain made anew under another key, as somebody without ours would."""
    keys = chain_keys(key)
    mac = first_mac(keys.event, LEDGER, rows[0].writer)
    made = []
    for row in rows:
        mac = next_mac(keys.event, mac, row.body)
        made.append(row._replace(mac=mac))
    return made


def altered(rows: list[AuditRow]) -> list[AuditRow]:
    return [*rows[:3], rows[3]._replace(body=rows[3].body.replace("refused", "granted")), *rows[4:]]


def swapped(rows: list[AuditRow]) -> list[AuditRow]:
    third, fourth = rows[2], rows[3]
    return [*rows[:2], fourth._replace(seq=3), third._replace(seq=4), *rows[4:]]


def renumbered(rows: list[AuditRow]) -> list[AuditRow]:
    """Event 4 removed, the rest moved up, bodies too, so that no gap shows."""
    kept = rows[:3]
    for row in rows[4:]:
        seq = row.seq - 1
        kept.append(row._replace(seq=seq, body=row.body.replace(f'"seq":{row.seq},', f'"seq":{seq},')))
    return kept


Forge = Callable[[list[AuditRow]], list[AuditRow]]


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (lambda rows: rows, []),
        (altered, ["W, event 4: altered"]),
        (lambda rows: [*rows[:3], rows[3]._replace(mac=b"\0" * 32), *rows[4:]], ["W, event 4: altered"]),
        (lambda rows: [*rows[:3], rows[3]._replace(body="{}"), *rows[4:]], ["W, event 4: altered"]),
        (lambda rows: [*rows[:3], *rows[5:]], ["W, events 4 to 5: missing", "W, event 6: cannot be checked"]),
        (lambda rows: rows[1:], ["W, event 1: missing", "W, event 2: cannot be checked"]),
        (swapped, ["W, events 3 to 4: moved", "W, event 5: altered"]),
        (renumbered, ["W, events 4 to 9: altered", "W, event 10: missing: the tail was cut"]),
        (lambda rows: rows[:8], ["W, events 9 to 10: missing: the tail was cut"]),
        (lambda rows: recomputed(rows, b"x" * 32), ["W, events 1 to 10: altered", "W, event 10: is not the event"]),
        (lambda rows: recomputed(altered(rows), KEY), ["W, event 10: is not the event that the head remembers"]),
    ],
)  # fmt: skip
def test_forgeries_are_named(rows: list[AuditRow], heads: Path, forge: Forge, expected: list[str]) -> None:
    found = findings(forge(rows), heads)
    assert len(found) == len(expected), found
    for text, start in zip(found, expected, strict=True):
        assert text.startswith(f"writer {start}"), found


def test_whole_chain_removed(rows: list[AuditRow], heads: Path) -> None:
    (finding,) = verify([], KEY, [heads], LEDGER)
    assert (finding.writer, finding.first, finding.last) == (rows[0].writer, 1, 10)


def test_missing_head(rows: list[AuditRow], heads: Path) -> None:
    next(heads.iterdir()).unlink()
    (text,) = findings(rows, heads)
    assert "no head" in text


@pytest.mark.parametrize("forged", [b"scep-server-head-1 a b 3 cc dd\n", b"\xff" * 100, b" ", b"\n" * 5])
def test_altered_head(rows: list[AuditRow], heads: Path, forged: bytes) -> None:
    next(heads.iterdir()).write_bytes(forged)
    assert any("head slot-000" in text and "altered" in text for text in findings(rows, heads))
    with pytest.raises(LedgerUnusable):
        AuditTrail(KEY, heads, log=quiet()).attach(LEDGER, lambda _writer, _seq: None)


def test_old_head_set_back_by_hand_is_altered(rows: list[AuditRow], heads: Path) -> None:
    """A head of our own making with another number is no head."""
    path = next(heads.iterdir())
    path.write_bytes(path.read_bytes().replace(b"%020d" % 10, b"%020d" % 8))
    assert any("altered" in text for text in findings(rows[:8], heads))


def test_wrong_key_and_wrong_ledger(rows: list[AuditRow], heads: Path) -> None:
    assert findings(rows, heads, key=b"w" * 32)
    assert any("another ledger" in text for text in findings(rows, heads, ledger="cd" * 16))


def test_events_after_the_head_are_in_order(rows: list[AuditRow], heads: Path) -> None:
    """A crash may leave the head behind: no finding; but what follows must still chain."""
    trail = AuditTrail(KEY, heads, log=quiet())
    trail.attach(LEDGER, lambda _writer, seq: rows[seq - 1].mac)
    later = trail.chain([(Event("request.refused", NOW), None)])
    trail.close()
    assert findings([*rows, *later], heads) == []
    assert findings([*rows, later[0]._replace(body=later[0].body + " ")], heads) != []


def test_slots_are_taken_over_with_their_writer(heads: Path) -> None:
    trails = [AuditTrail(KEY, heads, log=quiet()) for _ in range(3)]
    for trail in trails[:2]:
        trail.attach(LEDGER, lambda _writer, _seq: None)
    first, second = trails[0].writer, trails[1].writer
    assert first != second
    trails[0].close()
    trails[2].attach(LEDGER, lambda _writer, _seq: None)
    assert trails[2].writer == first
    assert len(list(heads.iterdir())) == 2


def test_progress_is_told(rows: list[AuditRow], heads: Path) -> None:
    seen: list[int] = []
    assert list(verify(rows, KEY, [heads], LEDGER, seen.append)) == []
    assert seen == [10]


def test_short_key_is_refused(heads: Path) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        AuditTrail(b"short", heads)
