"""The log tells of our own certificates' end 90, 30 and 7 days before, once each, and when it has come (F24)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from scep_server.assembly.expiry import ExpiryWatch
from tests.e2e.identities import certificate, ec_key, name


class Calendar:
    """A clock that the test turns; it stands at the beginning of the certificates' days."""

    def __init__(self) -> None:
        self.begun = self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


def issuing_ca(days: int) -> bytes:
    return certificate(ec_key(), name(("CN", "Issuing CA")), days=(-1, days))


async def test_each_step_is_told_once(calendar: Calendar, caplog: pytest.LogCaptureFixture) -> None:
    watch = ExpiryWatch([issuing_ca(100)], calendar)
    told = []
    for day in range(103):
        calendar.now = calendar.begun + timedelta(days=day, minutes=1)
        await watch.look()
        if caplog.records:
            told.append((100 - day, *{record.levelno for record in caplog.records}, len(caplog.records)))
            caplog.clear()
    warning, error = logging.WARNING, logging.ERROR
    assert told == [(90, warning, 1), (30, warning, 1), (7, error, 1), (0, error, 1)]


async def test_a_start_close_to_the_end_tells_it_with_the_name(
    calendar: Calendar, caplog: pytest.LogCaptureFixture
) -> None:
    calendar.now -= timedelta(minutes=1)
    await ExpiryWatch([issuing_ca(20), issuing_ca(900)], calendar).look()
    (record,) = caplog.records
    assert "CN=Issuing CA expires in 20 days" in record.getMessage()


async def test_a_long_life_is_nothing_to_tell(calendar: Calendar, caplog: pytest.LogCaptureFixture) -> None:
    await ExpiryWatch([issuing_ca(92)], calendar).look()
    assert caplog.records == []
