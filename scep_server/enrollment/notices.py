"""What a plugin is told afterwards about its yes: written in the commit of what it tells, told by status/outbox."""

from __future__ import annotations

import secrets
from datetime import datetime

from scep_server.codec.names import rfc4514
from scep_server.enrollment.registry import ActiveIntegration
from scep_server.types import Attempt, Entry, Notice, NoticeKind


def notice_of_entry(
    active: ActiveIntegration, entry: Entry, kind: NoticeKind, at: datetime, reason: str = ""
) -> tuple[Notice, ...]:
    """One notice about an entry; none where the plugin takes none, or cannot be loaded to say so."""
    if active.plugin is None or not active.plugin.takes_notices:
        return ()
    return (
        Notice(
            id=_fresh(),
            kind=kind,
            integration=entry.integration,
            at=at,
            transaction_id=entry.transaction_id,
            subject=entry.subject,
            entry_id=entry.id,
            reason=reason,
        ),
    )


def notice_of_attempt(active: ActiveIntegration, attempt: Attempt, at: datetime, reason: str) -> tuple[Notice, ...]:
    """One notice about a request that failed before it had an entry."""
    if not active.judge().takes_notices:
        return ()
    return (
        Notice(
            id=_fresh(),
            kind=NoticeKind.FAILED,
            integration=attempt.integration,
            at=at,
            transaction_id=attempt.transaction_id,
            subject=rfc4514(attempt.request.subject),
            reason=reason,
        ),
    )


def _fresh() -> str:
    return secrets.token_hex(16)
