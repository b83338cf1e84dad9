"""Revocations that Intune asks for: download what waits, upload what became of it."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from challenge_plugins.intune.discovery import PKI_CONNECTOR
from challenge_plugins.intune.faults import ServiceFault
from challenge_plugins.intune.reading import text_of
from challenge_plugins.intune.service import IntuneServices
from scep_server.types import RevocationOutcome, RevocationRequest, RevocationResult

AT_ONCE: Final = 100
AT_MOST: Final = 500
"""maxRequests: what we ask for, and the most that Intune gives."""
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

    async def download(self) -> list[RevocationRequest]:
        """Some of what waits for this connection. Reads only: nothing is taken off the list before its upload.

        Two integrations of one tenant may share a CA, and Intune filters by issuer alone: what carries another
        connection's caConfiguration is left to that one. Where that one answers no more, its requests stand before
        ours for ever; ServiceFault when nothing else fits into an answer.
        """
        for at_most in (AT_ONCE, AT_MOST):
            listed = await self._listed(at_most)
            ours, left = self._ours(listed)
            if left:
                log.info("left revocation requests to others: %s", _counts(left))
            if ours or len(listed) < at_most:
                return ours
        raise ServiceFault(
            f"Intune gives {AT_MOST} revocation requests at a time, and none of these is this connection's: "
            f"{_counts(left)}; let an integration with that ca_configuration answer them",
            200,
        )

    async def try_out(self) -> None:
        """Ask for one request, and do not answer it: changes nothing at Intune."""
        await self._listed(1)

    async def _listed(self, at_most: int) -> list[Any]:
        body = {"downloadParameters": {"maxRequests": at_most, "issuerName": self._issuer_name}}
        answer = await self._services.post(
            PKI_CONNECTOR, f"{_AREA}/downloadRevocationRequests", body, max_bytes=MAX_BYTES
        )
        listed = answer.get("value")
        if not isinstance(listed, list):
            raise ServiceFault("Intune (downloadRevocationRequests) answered no list", 200)
        return listed

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

    def _ours(self, listed: Sequence[Any]) -> tuple[list[RevocationRequest], Counter[str]]:
        """What is for this connection, and how many there are of each kind that is not."""
        ours, left = [], Counter[str]()
        for item in listed:
            context = item.get("requestcontext") if isinstance(item, dict) else None
            if not isinstance(context, str) or not 0 < len(context) <= MAX_CONTEXT:
                left["without a context"] += 1
                continue
            issuer, configuration = (text_of(item.get(name), 1024) for name in ("issuername", "caconfiguration"))
            if issuer not in {"", self._issuer_name}:
                left[f"of issuer {issuer[:64]!r}"] += 1
            elif configuration not in {"", self._ca_configuration}:
                left[f"of caConfiguration {configuration[:64]!r}"] += 1
            else:
                ours.append(RevocationRequest(context, serial_number(item.get("serialnumber"))))
        return ours, left


def _counts(left: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in left.most_common(3))


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
