"""Revoking: once, with a reason by name, told in the same commit."""

import pytest
from cryptography.x509 import ReasonFlags

from scep_server.errors import ConfigurationError
from scep_server.status import REASONS, parse_reason, revoke
from scep_server.types import EntryState
from tests.status.conftest import START
from tests.status.memory_revocations import MemoryRevocations


@pytest.fixture
def ledger():
    ledger = MemoryRevocations()
    ledger.add("aa", 0x53FF)
    return ledger


async def test_entry_is_revoked_and_the_event_tells_it(ledger):
    entry = await revoke(ledger, "aa", 0x53FF, ReasonFlags.key_compromise, START, source="cli")
    assert entry.state is EntryState.REVOKED
    assert (entry.revoked_at, entry.revocation_reason) == (START, ReasonFlags.key_compromise)
    (event,) = ledger.events
    assert (event.kind, event.at, event.source) == ("certificate.revoked", START, "cli")
    assert event.detail == {"issuer_id": "aa", "serial": "53ff", "reason": "keyCompromise"}


async def test_a_second_revocation_changes_nothing(ledger):
    first = await revoke(ledger, "aa", 0x53FF, ReasonFlags.superseded, START)
    assert await revoke(ledger, "aa", 0x53FF, ReasonFlags.key_compromise, START.replace(year=2027)) == first
    assert len(ledger.events) == 1
    assert ledger.revocation_mark("aa", 0) == 1


async def test_an_unknown_serial_or_issuer_is_told(ledger):
    for issuer_id, serial in (("aa", 1), ("bb", 0x53FF)):
        with pytest.raises(LookupError):
            await revoke(ledger, issuer_id, serial, ReasonFlags.unspecified, START)
    assert ledger.events == []


def test_reasons_go_by_their_rfc_names():
    assert parse_reason("keyCompromise") is ReasonFlags.key_compromise
    assert parse_reason("CESSATIONOFOPERATION") is ReasonFlags.cessation_of_operation
    assert [parse_reason(name).value for name in REASONS] == list(REASONS)


async def test_what_is_no_reason_is_refused(ledger):
    for name in ("", "lost", "removeFromCRL", "key_compromise"):
        with pytest.raises(ConfigurationError, match="keyCompromise"):
            parse_reason(name)
    with pytest.raises(ValueError, match="removeFromCRL"):
        await revoke(ledger, "aa", 0x53FF, ReasonFlags.remove_from_crl, START)
