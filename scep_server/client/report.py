"""What a client checked, said plainly: every check by name and what came of it. A failed one ends the enrolment."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Verdict(enum.Enum):
    """What is known after a check. A check that fails is no verdict but an exception."""

    VERIFIED = "verified"
    DIFFERS = "DIFFERS"
    """As the server decided, not as we asked."""
    NOT_CHECKED = "NOT CHECKED"
    """Nobody looked, so nothing is known."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified, or was not."""

    name: str
    verdict: Verdict
    detail: str

    def __str__(self) -> str:
        return f"{self.verdict.value:<11}  {self.name}: {self.detail}"


Report = Callable[[Check], None]
"""Told of every check as it is made."""
