"""The three calls about one request: may it have a certificate, it has one, it has none."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from challenge_plugins.intune.discovery import VALIDATION
from challenge_plugins.intune.failure_codes import hresult
from challenge_plugins.intune.reading import text_of
from challenge_plugins.intune.service import IntuneServices
from scep_server.errors import Reason, Refusal
from scep_server.types import Attempt, Certificate

MAX_DESCRIPTION: Final = 255


class ScepValidation:
    """ScepRequestValidationFEService."""

    def __init__(self, services: IntuneServices, *, issuer_name: str, ca_configuration: str, caller_info: str) -> None:
        self._services = services
        self._issuer_name = issuer_name
        self._ca_configuration = ca_configuration
        self._caller_info = caller_info

    async def validate(self, attempt: Attempt) -> None:
        """Returns when Intune said Success. Refusal(DENIED) for any other code, Fault when it said nothing."""
        await self._call("validateRequest", {"request": self._about(attempt)})

    async def succeeded(self, attempt: Attempt, certificate: Certificate) -> None:
        """The certificate exists and waits for Intune's word: until it returns, nobody may have it."""
        notification = self._about(attempt) | {
            "certificateThumbprint": hashlib.sha1(certificate.der, usedforsecurity=False).hexdigest().upper(),
            "certificateSerialNumber": f"{certificate.serial:X}",
            "certificateExpirationDateUtc": certificate.not_after.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "issuingCertificateAuthority": self._issuer_name,
            "caConfiguration": self._ca_configuration,
            "certificateAuthority": self._issuer_name,
        }
        await self._call("successNotification", {"notification": notification})

    async def failed(self, attempt: Attempt, refusal: Refusal) -> None:
        """No certificate after Intune's yes; the console shows code and text. The refusal's detail is for our log."""
        text = f"{refusal.reason.code}: {refusal.reason.text}"[:MAX_DESCRIPTION]
        notification = self._about(attempt) | {"hResult": hresult(refusal.reason), "errorDescription": text}
        await self._call("failureNotification", {"notification": notification})

    def _about(self, attempt: Attempt) -> dict[str, Any]:
        return {
            "transactionId": attempt.transaction_id,
            # The bytes that were decrypted, not encoded anew: the challenge in them is bound to them.
            "certificateRequest": base64.b64encode(attempt.request.der).decode("ascii"),
            "callerInfo": self._caller_info,
        }

    async def _call(self, action: str, body: Mapping[str, Any]) -> None:
        answer = await self._services.post(VALIDATION, f"ScepActions/{action}", body)
        code = answer.get("code")
        if code != "Success":
            # Unknown codes and none at all included: what is not a yes is a no.
            said = text_of(code, 64) or "no code"
            description = text_of(answer.get("errordescription"), MAX_DESCRIPTION)
            raise Refusal(
                Reason.DENIED, f"Intune ({action}) answered {said}" + (f": {description}" * bool(description))
            )
