"""Waiting for what another program does and tells nobody."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE = 0.05


def until(condition: Callable[[], object], seconds: float = 5.0, what: str = "") -> None:
    """Return as soon as the condition holds; fail when it does not within these seconds. what: the failure's words."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what or f"not within {seconds:g} s"
        time.sleep(PAUSE)
