"""Revocations that Intune asks for: download what waits, upload what became of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from challenge_plugins.intune.discovery import PKI_CONNECTOR
from challenge_plugins.intune.faults import ServiceFault
from challenge_plugins.intune.reading import text_of
from challenge_plugins.intune.service import IntuneServices
from scep_server.types import RevocationOutcome, RevocationRequest, RevocationResult

AT_ONCE: Final = 100
"""maxRequests; Intune allows 1 to 500."""
MAX_BYTES: Final = 8 << 20
MAX_CONTEXT: Final = 1 << 16
_AREA: Final = "CertificateAuthorityRequests"
_SEPARATORS: Final = re.compile(r"[\s:.-]")
_HEX: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,128})")
log = logging.getLogger(__name__)

RESULTS: Final[Mapping[RevocationOutcome, tuple[str, str | None]]] = {
    RevocationOutcome.REVOKED: ("None", None),
    # After a crash between revoking and telling, this is the answer to the very request that revoked it. What Intune
    # asked for is so; ConflictError would report a failure for good.
    RevocationOutcome.ALREADY_REVOKED: ("None", None),
    RevocationOutcome.NOT_FOUND: ("CertificateNotFoundError", "no certificate of this connection has this serial"),
    RevocationOutcome.UNREADABLE: ("ParameterDataInvalidError", "the serial number is no hexadecimal number"),
    RevocationOutcome.RETRY: ("RetryableServiceException", "not revoked yet, ask again"),
}
"""errorCode and errorMessage. Success goes with `None` and no message, and only with these."""


class PkiConnector:
    """PkiConnectorFEService, for one issuer and one connection."""

    def __init__(self, services: IntuneServices, *, issuer_name: str, ca_configuration: str) -> None:
        self._services = services
        self._issuer_name = issuer_name
        self._ca_configuration = ca_configuration

    async def download(self, at_most: int = AT_ONCE) -> list[RevocationRequest]:
        """Some of what waits for this connection. Reads only: nothing is taken off the list before its upload.

        Two integrations of one tenant may share a CA, and Intune filters by issuer alone: what carries another
        connection's caConfiguration is left to that one.
        """
        body = {"downloadParameters": {"maxRequests": at_most, "issuerName": self._issuer_name}}
        answer = await self._services.post(
            PKI_CONNECTOR, f"{_AREA}/downloadRevocationRequests", body, max_bytes=MAX_BYTES
        )
        listed = answer.get("value")
        if not isinstance(listed, list):
            raise ServiceFault("Intune (downloadRevocationRequests) answered no list", 200)
        return [request for item in listed if (request := self._read(item)) is not None]

    async def upload(self, results: Sequence[RevocationResult]) -> None:
        """Tell Intune what became of its requests. ServiceFault unless it recorded all of it: then it must be told
        again, and may be.
        """
        if not results:
            return
        last = {result.request.context: result for result in results}
        body = {"results": [_told(result) for result in last.values()]}
        answer = await self._services.post(PKI_CONNECTOR, f"{_AREA}/uploadRevocationResults", body)
        # Microsoft's own library takes the text as well.
        if (recorded := answer.get("value")) is not True and recorded != "true":
            raise ServiceFault("Intune (uploadRevocationResults) did not record the results", 200)

    def _read(self, item: Any) -> RevocationRequest | None:
        context = item.get("requestcontext") if isinstance(item, dict) else None
        if not isinstance(context, str) or not 0 < len(context) <= MAX_CONTEXT:
            log.warning("Intune sent a revocation request without a context; it cannot be answered")
            return None
        issuer, configuration = (text_of(item.get(name), 1024) for name in ("issuername", "caconfiguration"))
        if issuer not in {"", self._issuer_name} or configuration not in {"", self._ca_configuration}:
            log.info("left a revocation request of caConfiguration %r to its connection", configuration[:64])
            return None
        return RevocationRequest(context, serial_number(item.get("serialnumber")))


def serial_number(text: Any) -> int | None:
    """A serial as we or a console may have written it: hex of either case, 0x, zeros in front, colons, dashes, blanks.
    None for anything else.
    """
    if not isinstance(text, str) or len(text) > 512:
        return None
    found = _HEX.fullmatch(_SEPARATORS.sub("", text))
    return int(found[1], 16) if found else None


def _told(result: RevocationResult) -> dict[str, Any]:
    code, message = RESULTS[result.outcome]
    return {
        "requestContext": result.request.context,
        "succeeded": code == "None",
        "errorCode": code,
        "errorMessage": message,
    }
