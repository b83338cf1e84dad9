"""Which error code Intune's console shows for a failure of ours: HRESULTs of [MS-ERREF], as positive numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scep_server.errors import Reason

E_UNEXPECTED: Final = 0x8000FFFF
HRESULTS: Final[Mapping[str, int]] = {
    Reason.ALGORITHM.code: 0x80090008,  # NTE_BAD_ALGID
    Reason.SIGNATURE.code: 0x80090006,  # NTE_BAD_SIGNATURE
    Reason.SIGNER_KEY.code: 0x80090006,  # NTE_BAD_SIGNATURE
    Reason.KEY.code: 0x80094811,  # CERTSRV_E_KEY_LENGTH
    Reason.SUBJECT.code: 0x80094001,  # CERTSRV_E_BAD_REQUESTSUBJECT
    Reason.SAN.code: 0x800B0114,  # CERT_E_INVALID_NAME
    Reason.EXTENSION.code: 0x80070057,  # E_INVALIDARG
    Reason.TRANSACTION.code: 0x80094003,  # CERTSRV_E_BAD_REQUESTSTATUS
    Reason.RENEWAL.code: 0x80094003,  # CERTSRV_E_BAD_REQUESTSTATUS
    Reason.REJECTED.code: 0x80094014,  # CERTSRV_E_ADMIN_DENIED_REQUEST
    Reason.DISABLED.code: 0x80070005,  # E_ACCESSDENIED
    Reason.UNCONFIRMED.code: 0x800705B4,  # ERROR_TIMEOUT
}
"""Reason.code to HRESULT; what is not here is E_UNEXPECTED, which is also what Microsoft's example sends."""


def hresult(reason: Reason) -> int:
    """The code for a refusal."""
    return HRESULTS.get(reason.code, E_UNEXPECTED)
