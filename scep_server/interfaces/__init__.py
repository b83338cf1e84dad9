"""Takes: the values of types.py and the errors of errors.py; nothing else of ours.
Gives: the sockets: what one room asks of another, one small protocol a caller.
May touch: nothing; there is no code here.

Methods marked *blocking* do CPU work or a short read; enrollment/offload.py says on which thread. The rest are
coroutines. Absence is None, a decided no is a Refusal, "cannot tell now" is a Fault.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from scep_server.interfaces.authority import CertificateAuthority, RaKey
from scep_server.interfaces.ledger import (
    Challenges,
    Integrations,
    Issuances,
    Leases,
    Listings,
    Notices,
    Opened,
    Revocations,
)
from scep_server.interfaces.plugins import (
    ChallengePlugin,
    ChallengePluginFactory,
    ChecksItself,
    ConfirmsRelease,
    DeclaresCounters,
    DescribesSettings,
    HasAddresses,
    HasJobs,
    HasRoutes,
    Host,
    JudgesRenewals,
    KeyFile,
    Mints,
    Outbound,
    PullsRevocations,
    RevealsSecret,
    ShowsSettings,
    TakesNotices,
)

Clock = Callable[[], datetime]
"""Aware UTC now; injected everywhere so that tests own time."""

Job = Callable[[], Awaitable[None]]
"""A background job that assembly runs on a schedule; it logs and goes on after its own faults."""

__all__ = [
    "CertificateAuthority",
    "ChallengePlugin",
    "ChallengePluginFactory",
    "Challenges",
    "ChecksItself",
    "Clock",
    "ConfirmsRelease",
    "DeclaresCounters",
    "DescribesSettings",
    "HasAddresses",
    "HasJobs",
    "HasRoutes",
    "Host",
    "Integrations",
    "Issuances",
    "Job",
    "JudgesRenewals",
    "KeyFile",
    "Leases",
    "Listings",
    "Mints",
    "Notices",
    "Opened",
    "Outbound",
    "PullsRevocations",
    "RaKey",
    "RevealsSecret",
    "Revocations",
    "ShowsSettings",
    "TakesNotices",
]
