"""Who owns the heads: a command run as root must not lock the serving user out of its own trail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scep_server.audit import AuditTrail, EventLog
from scep_server.errors import LedgerUnusable

KEY = b"k" * 32
LEDGER = "ab" * 16
SERVICE = 65534

as_root = pytest.mark.usefixtures("root")


def attach(heads: Path) -> None:
    """What every command does that opens the ledger."""
    trail = AuditTrail(KEY, heads, log=EventLog(os.open(os.devnull, os.O_WRONLY)))
    try:
        trail.attach(LEDGER, lambda _writer, _seq: None)
    finally:
        trail.close()


def as_service(act: Callable[[], None]) -> str:
    """The error of act in a process of the service user; empty when there was none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        text = "did not end"
        try:
            os.setgroups([])
            os.setgid(SERVICE)
            os.setuid(SERVICE)
            act()
            text = ""
        except BaseException as error:  # noqa: BLE001 - told to the parent
            text = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, text.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the service user; it is entered, because folders above it may be closed to that user."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    os.chown(folder, SERVICE, SERVICE)
    monkeypatch.chdir(folder)
    return Path()


@as_root
def test_the_service_user_can_attach_after_root_did_first(data: Path) -> None:
    attach(data / "state" / "heads")
    assert {path.stat().st_uid for path in (data / "state").rglob("*")} == {SERVICE}
    assert as_service(lambda: attach(data / "state" / "heads")) == ""


@as_root
def test_the_service_user_can_attach_after_root_took_one_slot_more(data: Path) -> None:
    assert as_service(lambda: attach(data / "heads")) == ""
    held = AuditTrail(KEY, data / "heads", log=EventLog(os.open(os.devnull, os.O_WRONLY)))
    held.attach(LEDGER, lambda _writer, _seq: None)
    attach(data / "heads")
    held.close()
    assert sorted(path.name for path in (data / "heads").iterdir()) == ["slot-000", "slot-001"]
    assert as_service(lambda: attach(data / "heads")) == ""


@as_root
def test_a_head_of_another_user_is_named_with_the_remedy(data: Path) -> None:
    attach(data / "heads")
    os.chown(data / "heads" / "slot-000", 0, 0)
    text = as_service(lambda: attach(data / "heads"))
    assert text.startswith("LedgerUnusable: audit head heads/slot-000 cannot be read")
    assert "chown" in text


def test_a_head_that_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "slot-000").mkdir()
    with pytest.raises(LedgerUnusable, match=r"slot-000 cannot be read .*chown"):
        attach(tmp_path)


def test_a_slot_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "slot-000").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerUnusable):
        attach(tmp_path / "heads")
    assert not (tmp_path / "elsewhere").exists()
