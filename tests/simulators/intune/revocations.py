"""The revocation service: requests wait until a final result with their context has been recorded."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.simulators.intune.checks import revocation, violation
from tests.simulators.intune.codes import PKI_API_VERSION, RETRYABLE_FROM, REVOCATION_ERRORS
from tests.simulators.intune.exchange import Answer, Exchange, Gate, Operation
from tests.simulators.intune.feservice import FrontDoor, in_case


@dataclass
class RevocationRequest:
    """One certificate an administrator wants revoked."""

    tenant_id: str
    serial_number: str
    """As Intune writes it: any case, leading zeros, separators."""
    issuer_name: str
    ca_configuration: str | None = None
    context: str = field(default_factory=lambda: uuid.uuid4().hex)
    handed_out: int = 0
    """Times it was in an answer to a download."""
    results: list[dict[str, Any]] = field(default_factory=list)
    """Every result recorded for it, in order."""

    @property
    def pending(self) -> bool:
        """No result yet, or only such as ask for another try."""
        last = self.results[-1]["errorCode"] if self.results else None
        return last is None or REVOCATION_ERRORS[revocation.name_of(last)] >= RETRYABLE_FROM


class Revocations:
    """PkiConnectorFEService."""

    def __init__(self, gate: Gate, door: FrontDoor) -> None:
        self._gate = gate
        self._door = door
        self._spelling: revocation.Spelling | None = None
        self.requests: list[RevocationRequest] = []

    def operations(self) -> list[tuple[str, Operation]]:
        """Paths below the service's URI."""
        folder = "CertificateAuthorityRequests"
        return [
            (
                f"{folder}/downloadRevocationRequests",
                Operation("downloadRevocationRequests", self._admit_download, self._download),
            ),
            (
                f"{folder}/uploadRevocationResults",
                Operation("uploadRevocationResults", self._admit_upload, self._upload),
            ),
        ]

    def _admit_download(self, exchange: Exchange) -> Answer | None:
        refused = self._door.admit(exchange, "1.5-api-version", PKI_API_VERSION, revocation.download)
        return refused or self._door.judge(exchange)

    def _download(self, exchange: Exchange) -> Answer:
        tenant, asked = exchange.known(), exchange.call.json["downloadParameters"]
        waiting = [
            request
            for request in self.requests
            if request.pending
            and request.tenant_id == tenant.tenant_id
            and asked["issuerName"] in {None, request.issuer_name}
        ][: asked["maxRequests"]]
        for request in waiting:
            request.handed_out += 1
        value = [
            {
                "requestContext": request.context,
                "serialNumber": request.serial_number,
                "issuerName": request.issuer_name,
                "caConfiguration": request.ca_configuration,
            }
            for request in waiting
        ]
        return Answer(
            200, in_case(tenant, {"@odata.context": "$metadata#Collection(RevocationRequest)", "value": value})
        )

    def _admit_upload(self, exchange: Exchange) -> Answer | None:
        refused = self._door.admit(exchange, "1.5-api-version", PKI_API_VERSION, revocation.upload)
        if refused is None and not exchange.call.violations:
            exchange.call.violations += self._one_spelling(exchange) + self._contexts(exchange)
        return refused or self._door.judge(exchange)

    def _one_spelling(self, exchange: Exchange) -> list[str]:
        used = {revocation.spelling(result["errorCode"]) for result in exchange.call.json["results"]}
        self._spelling = self._spelling or min(used)
        return [] if used == {self._spelling} else [violation("1.5-one-spelling", f"{sorted(used)}")]

    def _contexts(self, exchange: Exchange) -> list[str]:
        handed_out = {
            request.context
            for request in self.requests
            if request.handed_out and request.tenant_id == exchange.known().tenant_id
        }
        sent = {result["requestContext"] for result in exchange.call.json["results"]}
        return [violation("1.5-context", each) for each in sorted(sent - handed_out)]

    def _upload(self, exchange: Exchange) -> Answer:
        tenant = exchange.known()
        if tenant.upload_value in (True, "true"):  # anything else says: not recorded
            by_context = {request.context: request for request in self.requests}
            for result in exchange.call.json["results"]:
                by_context[result["requestContext"]].results.append(result)
        return Answer(200, in_case(tenant, {"@odata.context": "$metadata#Edm.Boolean", "value": tenant.upload_value}))
