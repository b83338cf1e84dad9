"""The log tells of our own certificates' end 90, 30 and 7 days before, once each, and when it has come (F24)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.assembly.expiry import ExpiryWatch
from tests.e2e.identities import certificate, ec_key, name

NOW = datetime.now(UTC)


class Calendar:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def issuing_ca(days: int) -> bytes:
    return certificate(ec_key(), name(("CN", "Issuing CA")), days=(-1, days))


async def test_each_step_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    calendar = Calendar()
    watch = ExpiryWatch([issuing_ca(100)], calendar)
    told = []
    for day in range(103):
        calendar.now = NOW + timedelta(days=day, minutes=1)
        await watch.look()
        if caplog.records:
            told.append((100 - day, *{record.levelno for record in caplog.records}, len(caplog.records)))
            caplog.clear()
    warning, error = logging.WARNING, logging.ERROR
    assert told == [(90, warning, 1), (30, warning, 1), (7, error, 1), (0, error, 1)]


async def test_a_start_close_to_the_end_tells_it_with_the_name(caplog: pytest.LogCaptureFixture) -> None:
    await ExpiryWatch([issuing_ca(20), issuing_ca(900)], lambda: NOW - timedelta(minutes=1)).look()
    (record,) = caplog.records
    assert "CN=Issuing CA expires in 20 days" in record.getMessage()


async def test_a_long_life_is_nothing_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    await ExpiryWatch([issuing_ca(92)], lambda: NOW).look()
    assert caplog.records == []
