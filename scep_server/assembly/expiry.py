"""Warns in time before a certificate of the server's own ends: 90, 30 and 7 days before, and when it has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from scep_server.interfaces import Clock

log = logging.getLogger(__name__)

WARN_DAYS: Final = (90, 30, 7)
URGENT: Final = timedelta(days=7)


class ExpiryWatch:
    """Looks at certificates; each one is complained of once at every step towards its end, and once after it."""

    def __init__(self, certificates: Sequence[bytes], clock: Clock) -> None:
        """certificates: DER, each once."""
        loaded = map(x509.load_der_x509_certificate, certificates)
        self._ends = [(one.subject.rfc4514_string(), one.not_valid_after_utc) for one in loaded]
        self._clock = clock
        self._told = [0] * len(self._ends)

    async def look(self) -> None:
        """One look, as a job does it; only logs."""
        for number, (subject, end) in enumerate(self._ends):
            left = end - self._clock()
            step = sum(left <= timedelta(days=days) for days in WARN_DAYS) + (left <= timedelta(0))
            if step > self._told[number]:
                _warn(subject, end, left)
            self._told[number] = step


def _warn(subject: str, end: datetime, left: timedelta) -> None:
    level = logging.ERROR if left <= URGENT else logging.WARNING
    if left <= timedelta(0):
        log.log(level, "the certificate of %s has expired, at %s: nothing can be issued with it", subject, end)
    else:
        log.log(level, "the certificate of %s expires in %d days, at %s: replace it in time", subject, left.days, end)
