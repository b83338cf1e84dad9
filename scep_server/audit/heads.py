"""The heads of the audit chains, kept apart from the ledger: one small file per writer slot.

A slot belongs to the process that holds its flock; a later process takes the slot over together with its writer id,
so there are as many chains as there ever were processes at one time. A head is written after the commit it tells of and
without fsync: after a crash it may stand behind the ledger, never ahead of it.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from scep_server.audit.chain import MacKey
from scep_server.errors import LedgerUnusable

SLOTS: Final = 256


class Head(NamedTuple):
    """Where one writer's chain ends."""

    ledger: str
    writer: str
    seq: int
    mac: bytes


class HeadAltered(ValueError):
    """A head file whose own MAC is wrong."""


def encode_head(head: Head, key: MacKey) -> bytes:
    """Always the same length, so that one pwrite replaces the head before it."""
    text = f"scep-server-head-1 {head.ledger} {head.writer} {head.seq:020d} {head.mac.hex()} ".encode()
    return text + key.mac(text).hex().encode() + b"\n"


def decode_head(data: bytes, key: MacKey) -> Head | None:
    """The head; None for an empty file (a slot just made). HeadAltered for everything that we did not write."""
    if not data:
        return None
    text, _, mac = data.rstrip(b"\n").rpartition(b" ")
    if not hmac.compare_digest(key.mac(text + b" ").hex().encode(), mac):
        raise HeadAltered
    _, ledger, writer, seq, chain_mac = text.decode().split(" ")
    return Head(ledger, writer, int(seq), bytes.fromhex(chain_mac))


def slot_paths(directory: Path) -> list[Path]:
    """The slot files of a directory, by number."""
    return sorted(directory.glob("slot-[0-9][0-9][0-9]"))


def read_head(path: Path, key: MacKey) -> Head | None:
    """One slot's head, read while its owner may be writing: a torn read is read again before it counts as altered."""
    for attempt in range(5):
        try:
            return decode_head(path.read_bytes(), key)
        except HeadAltered:
            if attempt == 4:
                raise
    return None


class Slot:
    """A slot file held by this process."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def read(self, key: MacKey) -> Head | None:
        """The head as the last owner left it."""
        return decode_head(os.pread(self._fd, 1024, 0), key)

    def write(self, data: bytes) -> None:
        """Replace the head in one system call. OSError when it did not reach the file, or the file is gone."""
        if os.fstat(self._fd).st_nlink == 0:
            raise FileNotFoundError(f"{self.path} was removed")
        if os.pwrite(self._fd, data, 0) != len(data):
            raise OSError(f"short write to {self.path}")

    def sync(self) -> None:
        """Make a new slot durable: its name and its first head."""
        os.fsync(self._fd)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Give the slot back."""
        os.close(self._fd)


def take_slot(directory: Path) -> Slot:
    """The first slot that no process holds, made when all are held. LedgerUnusable when that cannot be done."""
    try:
        _make_directory(directory)
        for slot in _free_slots(directory):
            return slot
    except OSError as error:
        message = (
            f"audit heads cannot be kept in {directory} ({error.strerror}, {error.filename}): "
            "give the directory and all in it to the user that serves, with chown -R"
        )
        raise LedgerUnusable(message) from error
    raise LedgerUnusable(f"all {SLOTS} audit slots in {directory} are held by running processes: stop some of them")


def _make_directory(directory: Path) -> None:
    if directory.exists():
        return
    _make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        around = directory.parent.stat()
        os.chown(directory, around.st_uid, around.st_gid, follow_symlinks=False)


def _open_slot(path: Path) -> int:
    """The slot's file, made where there is none.

    One that root makes goes to the owner of the directory: the user that serves must read every head to start.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if os.geteuid() == 0:
        around = path.parent.stat()
        os.fchown(fd, around.st_uid, around.st_gid)
    return fd


def _free_slots(directory: Path) -> Iterator[Slot]:
    for number in range(SLOTS):
        path = directory / f"slot-{number:03d}"
        fd = _open_slot(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        yield Slot(path, fd)
        return


def new_writer() -> str:
    """A fresh writer id."""
    return secrets.token_hex(8)
