"""From a request to an order: what the certificate shall say, or why there is none.

The steps, cheapest and most telling first: (1) the key, (2) the subject, (3) the other wishes, (4) the alternative
names, (5) some name at all, (6) the validity. Nothing is decided here about who asks; that is the challenge's part.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from scep_server.codec.names import EMPTY_NAME, build_general_names
from scep_server.errors import Reason, Refusal
from scep_server.policy.keys import check_key
from scep_server.policy.names import check_subject, judge_san
from scep_server.policy.profiles import judge_extensions, validity
from scep_server.types import CertificationRequest, IntegrationOptions, IssueOrder


def make_order(
    request: CertificationRequest,
    options: IntegrationOptions,
    now: datetime,
    *,
    forbidden_keys: frozenset[bytes],
    forbidden_subjects: frozenset[bytes],
) -> IssueOrder:
    """The order for this request.

    forbidden_keys: SHA-256 of the SubjectPublicKeyInfo of each key of the CA and RA. forbidden_subjects: Names (DER)
    of the CAs and the RA. Refusal with Reason.KEY, SUBJECT, EXTENSION or SAN.
    """
    check_key(request.public_key, request.spki, forbidden_keys)  # (1)
    check_subject(request.subject, forbidden_subjects=forbidden_subjects)  # (2)
    wanted, notes = judge_extensions(request.extensions)  # (3)
    san, san_notes = granted_san(wanted, options, forbidden_subjects)  # (4)
    if san is None and request.subject == EMPTY_NAME:  # (5)
        raise Refusal(Reason.SUBJECT, "neither a subject nor a granted alternative name")
    not_before, not_after = validity(options, now)  # (6)
    return IssueOrder(
        subject=request.subject,
        spki=request.spki,
        san=san,
        not_before=not_before,
        not_after=not_after,
        dropped=notes + san_notes,
    )


def granted_san(
    wanted: bytes | None, options: IntegrationOptions, forbidden_subjects: Iterable[bytes] = ()
) -> tuple[bytes | None, tuple[str, ...]]:
    """GeneralNames DER to certify, None when nothing was asked for or granted; and a note for each name dropped."""
    if wanted is None:
        return None, ()
    granted, dropped = judge_san(wanted, options, forbidden_subjects=forbidden_subjects)
    return (build_general_names(granted) if granted else None), dropped
