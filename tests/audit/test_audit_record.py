"""N21: whatever a client sends, an event stays one bounded line of JSON that says the same."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scep_server.audit import EventLog, log_event
from scep_server.audit.record import LINE_LIMIT, body_of
from scep_server.types import Event

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOSTILE = [
    "a\r\nb",
    "\x1b[2J",
    "\u2028\u2029\x85",
    "\udcff\ud800",
    "${jndi:ldap://x}",
    "%s%n",
    "nul\0",
    "\x7f\x9b",
    '"}\\',
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=8,
)


def line(**fields: Any) -> str:
    return body_of(Event(**{"kind": "x", "at": NOW, **fields}), "ab" * 8, 7, None)


def assert_one_line(text: str) -> dict[str, Any]:
    assert len(text) <= LINE_LIMIT
    assert text.isascii()
    assert text.isprintable()
    assert "${" not in text
    parsed = json.loads(text)
    assert isinstance(parsed, dict)
    return parsed


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_escaped_and_says_the_same(text: str) -> None:
    parsed = assert_one_line(line(kind=text, integration=text, source=text, detail={text: text, "list": [text]}))
    assert parsed["source"] == parsed["kind"] == text
    assert parsed["detail"] == {text: text, "list": [text]}


@pytest.mark.parametrize("unit", ["A", "\u2028", "\U0001f4a9", "\0"])
def test_a_megabyte_is_cut(unit: str) -> None:
    began = time.process_time()
    parsed = assert_one_line(line(source=unit * 1_000_000, detail={unit * 1_000_000: [unit * 1_000_000] * 1000}))
    assert time.process_time() - began < 0.5
    assert parsed["source"].endswith("]")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=8), st.text(), st.integers())
def test_any_detail_is_one_bounded_line(detail: dict[str, Any], source: str, entry_id: int) -> None:
    assert_one_line(body_of(Event("x", NOW, detail=detail, source=source), "ab" * 8, 7, entry_id % 2**63))


def test_nothing_is_lost_from_a_usual_event() -> None:
    detail = {"serial": "ab" * 16, "dropped": ["a", "b"], "retry": 3, "ok": True, "none": None, "mac": b"\1\xff"}
    parsed = assert_one_line(line(detail=detail, security=True, integration="jamf"))
    assert parsed["detail"] == {**detail, "mac": "01ff"}
    assert (parsed["security"], parsed["integration"], parsed["seq"]) == (True, "jamf", 7)


def test_depth_and_huge_integers_are_cut() -> None:
    deep: Any = "bottom"
    for _ in range(1000):
        deep = {"d": deep}
    parsed = assert_one_line(line(detail={"deep": deep, "n": 2**2_000_000}))
    assert "too long" in parsed["detail"]["n"]


def test_log_gets_whole_lines(tmp_path: Any) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log_event(Event("server.started", NOW, detail={"n": 1}), EventLog(fd))
    EventLog(fd).write(["{}"] * 5000)
    os.close(fd)
    lines = path.read_text().splitlines()
    assert json.loads(lines[0])["kind"] == "server.started"
    assert lines[1:] == ["{}"] * 5000


def test_log_reader_that_stands_still_costs_lines_not_time() -> None:
    reader, writer = os.pipe()
    log = EventLog(writer)
    began = time.monotonic()
    for _ in range(2000):
        log.write(["x" * 1000])
    assert time.monotonic() - began < 2
    os.set_blocking(reader, False)
    received = b""
    while True:
        try:
            received += os.read(reader, 1 << 20)
        except BlockingIOError:
            break
    kept = received.count(b"\n")
    log.write(["after"])
    told = os.read(reader, 4096).splitlines()
    assert json.loads(told[0]) == {"kind": "log.lost", "lines": 2000 - kept}
    assert told[1] == b"after"
    os.close(reader)
    log.write(["nobody listens"])  # EPIPE is swallowed
    os.close(writer)
