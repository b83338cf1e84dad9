"""The JSON log lines: a mirror of the audit events for people and log collectors, written after the commit.

The ledger is the record; a log reader that stands still must not stop issuance (F25). So a write never waits longer
than a moment, and lines that could not leave are counted and the count is told with the next line that does.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from typing import Final

from scep_server.audit.record import body_of
from scep_server.types import Event

CHUNK: Final = 4096
"""PIPE_BUF of Linux: a pipe that polls writable takes this many bytes without waiting, and in one piece."""

PATIENCE_MS: Final = 250


class EventLog:
    """Writes lines to a file descriptor, standard error unless told."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lost = 0

    def write(self, lines: Iterable[str]) -> None:
        """Write whole lines, several to one system call; never raises and never waits for long."""
        chunk: list[str] = []
        size = 0
        for line in lines:
            if chunk and size + len(line) + 1 > CHUNK:
                self._send(chunk)
                chunk, size = [], 0
            chunk.append(line)
            size += len(line) + 1
        if chunk:
            self._send(chunk)

    def _send(self, lines: list[str]) -> None:
        # After a loss there is no more patience until the reader moves again: a stuck reader costs one wait, not many.
        if not self._poll.poll(0 if self._lost else PATIENCE_MS):
            self._lost += len(lines)
            return
        try:
            if self._lost:
                os.write(self._fd, b'{"kind":"log.lost","lines":%d}\n' % self._lost)
                self._lost = 0
                if not self._poll.poll(0):
                    self._lost += len(lines)
                    return
            os.write(self._fd, ("\n".join(lines) + "\n").encode("ascii"))
        except OSError:
            self._lost += len(lines)


class Unmirrored(EventLog):
    """For commands: what they did is in the ledger, and standard error is their operator's."""

    def write(self, lines: Iterable[str]) -> None:
        """Nothing."""


_standard_error = EventLog()


def log_event(event: Event, log: EventLog = _standard_error) -> None:
    """Log an event that has no row in the ledger: start, stop, and what went wrong before the ledger was open."""
    log.write((body_of(event, "", 0, event.entry_id),))
