"""Revokes a certificate: the reason by its RFC 5280 name, the audit event in the same commit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography.x509 import ReasonFlags

from scep_server.errors import ConfigurationError
from scep_server.interfaces import Revocations
from scep_server.types import Entry, Event

REASONS: Final[Mapping[str, ReasonFlags]] = MappingProxyType(
    {
        reason.value: reason
        for reason in (
            ReasonFlags.unspecified,
            ReasonFlags.key_compromise,
            ReasonFlags.ca_compromise,
            ReasonFlags.affiliation_changed,
            ReasonFlags.superseded,
            ReasonFlags.cessation_of_operation,
            ReasonFlags.certificate_hold,
            ReasonFlags.privilege_withdrawn,
            ReasonFlags.aa_compromise,
        )
    }
)
"""CRLReason by name (RFC 5280 section 5.3.1). removeFromCRL is no reason to revoke; it belongs to delta CRLs."""


def parse_reason(name: str) -> ReasonFlags:
    """The reason of this name (`keyCompromise`), letter case ignored. ConfigurationError lists the possible ones."""
    for known, reason in REASONS.items():
        if known.lower() == name.lower():
            return reason
    raise ConfigurationError(f"{name!r} is no revocation reason; the reasons are {', '.join(REASONS)}")


async def revoke(
    ledger: Revocations, issuer_id: str, serial: int, reason: ReasonFlags, at: datetime, *, source: str = ""
) -> Entry:
    """The entry, revoked since at; one that was revoked before stays as it was.

    source: who asked, for the audit. LookupError when the ledger does not know the serial; ValueError for
    ReasonFlags.remove_from_crl.
    """
    if reason is ReasonFlags.remove_from_crl:
        raise ValueError("removeFromCRL does not revoke")
    detail = {"issuer_id": issuer_id, "serial": f"{serial:x}", "reason": reason.value}
    event = Event("certificate.revoked", at, source=source, detail=detail)
    return await ledger.revoke(issuer_id, serial, reason, at, (event,))
