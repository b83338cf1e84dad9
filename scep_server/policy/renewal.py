"""Whether a certificate of ours may be renewed by this request (R57 to R62).

The steps: (1) renewal is on; (2) the signer certificate is the ledger's, byte for byte, and no self-signed one; (3) it
is issued and not revoked; (4) now is inside its renewal window; (5) the name does not change and the alternative names
do not grow. A new key is not asked for: RFC 8894 section 2.5 lets the old one be kept (R58).

The caller looked `old` up by issuer and serial, and answers for its integration being the one that was addressed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from scep_server.codec import asn1, names
from scep_server.codec.certificate import extension_value, read_tbs
from scep_server.errors import Reason, Refusal
from scep_server.policy.orders import granted_san
from scep_server.policy.profiles import SUBJECT_ALT_NAME, judge_extensions
from scep_server.types import CertificationRequest, Entry, EntryState, IntegrationOptions, SignerCertificate

_SUBJECT_ALT_NAME: Final = asn1.OID(SUBJECT_ALT_NAME)


def check_renewal(
    old: Entry,
    signer: SignerCertificate,
    request: CertificationRequest,
    options: IntegrationOptions,
    now: datetime,
) -> None:
    """Refusal with Reason.RENEWAL when `request`, signed under `signer`, may not renew `old`.

    Refusal with Reason.EXTENSION or SAN when the request's wishes are refused already.
    """
    if not (options.renewal or options.renewal_via_pkcsreq):  # (1)
        raise Refusal(Reason.RENEWAL, "renewal is off")
    if old.certificate is None or old.certificate != signer.der or signer.self_issued:  # (2)
        raise Refusal(Reason.RENEWAL, "signer certificate is not the one in the ledger", security=True)
    if old.state is not EntryState.ISSUED or old.revoked_at is not None:  # (3)
        raise Refusal(Reason.RENEWAL, f"the certificate to renew is {old.state.value}", security=True)
    _check_window(signer, options, now)  # (4)
    _check_names(signer, request, options)  # (5)


def _check_window(signer: SignerCertificate, options: IntegrationOptions, now: datetime) -> None:
    if now < signer.not_before:
        raise Refusal(Reason.RENEWAL, "the certificate to renew is not yet valid")
    if now > signer.not_after + timedelta(days=options.renewal_grace_days):
        raise Refusal(Reason.RENEWAL, "the certificate to renew has expired")
    window = options.renewal_window_days
    if window is not None and now < signer.not_after - timedelta(days=window):
        raise Refusal(Reason.RENEWAL, f"renewal opens {window} days before the end")


def _check_names(signer: SignerCertificate, request: CertificationRequest, options: IntegrationOptions) -> None:
    """R59: equal or narrower, judged on what would be granted, since only that could widen the identity."""
    if not names.same_name(request.subject, signer.subject):
        raise Refusal(Reason.RENEWAL, "another subject than the certificate to renew")
    wanted, _ = judge_extensions(request.extensions)
    san, _ = granted_san(wanted, options)
    if san is not None and not _alternative_names(san) <= _alternative_names(_certified_san(signer.der)):
        raise Refusal(Reason.RENEWAL, "more alternative names than the certificate to renew")


def _certified_san(certificate: bytes) -> bytes | None:
    return extension_value(read_tbs(certificate), _SUBJECT_ALT_NAME)


def _alternative_names(san: bytes | None) -> set[tuple[str, bytes]]:
    """Comparable form; host names and mail domains are the same in any case (RFC 5280 section 7)."""
    if san is None:
        return set()
    return {
        (name.kind, name.der.lower() if name.kind in {"dns", "email"} else name.der)
        for name in names.parse_general_names(san)
    }
