"""Coalesces the refusals of strangers, so that they cannot fill the disk.

The first refusal of a (source, integration, reason) is recorded at once; its repeats are counted and told as one event
when the window ends. That event names the first few others: behind a proxy or a NAT address many devices are one
source, and each may be refused for a cause of its own. A source is what one client commands, an IPv6 /64 as much as an
IPv4 address: events carry the address that came first. Beyond a bounded number of keys all sources share one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scep_server.interfaces import Clock
from scep_server.policy.sources import neighbourhood
from scep_server.types import Event

OTHERS = "others"

NAMED = 10
"""Other transactions that an event of repeats names."""
NAMED_TEXT = 120
"""Characters of each member of those."""

_Key = tuple[bytes, str, str]
"""Neighbourhood of the source, integration, reason."""


@dataclass(slots=True)
class _Window:
    first: Event
    ends: datetime
    repeats: int = 0
    others: list[dict[str, str]] = field(default_factory=list)

    def repeat(self, event: Event) -> None:
        """Count one more, and name it while there is room and it says something new."""
        self.repeats += 1
        told = _told(event)
        if len(self.others) < NAMED and told != _told(self.first) and told not in self.others:
            self.others.append(told)


class RefusalCoalescer:
    """Pure but for the clock. Not for several threads."""

    def __init__(self, clock: Clock, *, window: timedelta = timedelta(seconds=60), max_keys: int = 1000) -> None:
        self._clock = clock
        self._window = window
        self._max_keys = max_keys
        # In the order of their ends, as every window has the same length.
        self._open: dict[_Key, _Window] = {}

    def refused(self, event: Event, reason: str) -> list[Event]:
        """Count one refusal. What comes back is to be recorded now: ended windows, and this event when it is new."""
        due = self.due()
        now = self._clock()
        key = (neighbourhood(event.source), event.integration, reason)
        if key not in self._open and len(self._open) >= self._max_keys:
            key = (OTHERS.encode(), "", "")
            event = dataclasses.replace(event, source=OTHERS, integration="", entry_id=None, detail={})
        seen = self._open.get(key)
        if seen is not None:
            seen.repeat(event)
            return due
        self._open[key] = _Window(event, now + self._window)
        return [*due, event]

    def due(self) -> list[Event]:
        """Events of windows that have ended, one each, with the count of their repeats; call it about every second."""
        now = self._clock()
        ended = []
        for key, window in self._open.items():
            if window.ends > now:
                break
            ended.append(key)
        return self._close(ended, now)

    def flush(self) -> list[Event]:
        """Everything counted so far; for shutdown."""
        return self._close(list(self._open), self._clock())

    def _close(self, keys: list[_Key], now: datetime) -> list[Event]:
        events = []
        for key in keys:
            window = self._open.pop(key)
            if window.repeats:
                detail = {**window.first.detail, "repeats": window.repeats, "since": window.first.at.isoformat()}
                if window.others:
                    detail["others"] = window.others
                events.append(dataclasses.replace(window.first, at=now, detail=detail))
        return events


def _told(event: Event) -> dict[str, str]:
    """What tells one refusal from another of the same source, integration and reason."""
    return {
        name: str(event.detail[name])[:NAMED_TEXT] for name in ("transaction_id", "detail") if event.detail.get(name)
    }
