"""Who may have a certificate: a challenge plugin's yes, or a certificate of ours being renewed.

An Authorization is made here and nowhere else, and COMMIT 1 cannot be written without one (N1, N2).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scep_server.enrollment.registry import ActiveIntegration
from scep_server.errors import Reason, Refusal
from scep_server.interfaces import Issuances
from scep_server.policy.renewal import check_renewal
from scep_server.types import (
    Attempt,
    CertificationRequest,
    Entry,
    EntryState,
    Grant,
    MessageType,
    SealedRequest,
)


@dataclass(frozen=True, slots=True)
class Authorization:
    """A verified reason to issue."""

    grant: Grant
    renews: int | None = None
    """Entry id of the renewed certificate."""


def renewed_entry(
    active: ActiveIntegration,
    sealed: SealedRequest,
    request: CertificationRequest,
    ledger: Issuances,
    issuer_id: str,
    issuer_subject: bytes,
    now: datetime,
) -> Entry | None:
    """Blocking. The certificate that a request renews, verified (R57, N4); None when the request is no renewal.

    The signer must be, byte for byte, a certificate in our ledger: a name or serial copied onto another certificate
    proves nothing. Refusal(RENEWAL) when it is not, or when policy refuses.
    """
    if not _asks_to_renew(active, sealed, request, issuer_subject):
        if sealed.signer.spki == request.spki:
            return None
        raise Refusal(Reason.SIGNER_KEY, "PKCSReq is signed by another key than it certifies", security=True)
    if sealed.signer.self_issued or sealed.signer.issuer != issuer_subject:
        raise Refusal(Reason.RENEWAL, "signer certificate is not of this CA", security=True)
    old = ledger.find_certificate(issuer_id, sealed.signer.serial)
    if old is None or old.certificate != sealed.signer.der:
        raise Refusal(Reason.RENEWAL, "signer certificate is not in the ledger", security=True)
    if old.integration != active.name:
        raise Refusal(Reason.RENEWAL, "signer certificate belongs to another integration", security=True)
    if old.state is not EntryState.ISSUED:
        raise Refusal(Reason.RENEWAL, f"signer certificate is {old.state.value}", security=True)
    check_renewal(old, sealed.signer, request, active.options, now)
    return old


def _asks_to_renew(
    active: ActiveIntegration, sealed: SealedRequest, request: CertificationRequest, issuer_subject: bytes
) -> bool:
    """A RenewalReq does; a PKCSReq only where the integration says so (R61), and then by its signer: another key than
    the one to certify, or the old key kept (R58) under a certificate of this CA's and without a challenge.
    """
    if sealed.message_type is MessageType.RENEWAL_REQ:
        return True
    if not active.options.renewal_via_pkcsreq:
        return False
    if sealed.signer.spki != request.spki:
        return True
    return not request.challenge and not sealed.signer.self_issued and sealed.signer.issuer == issuer_subject


async def authorise(active: ActiveIntegration, attempt: Attempt, renewed: Entry | None) -> Authorization:
    """Ask the plugin, or accept a verified renewal; a challenge inside one is optional but must be right (R58)."""
    judge = active.judge()
    if renewed is not None and not attempt.request.challenge and not judge.judges_renewals:
        return Authorization(Grant(), renews=renewed.id)
    grant = await judge.redeem(attempt)
    return Authorization(grant, renews=renewed.id if renewed is not None else None)
