"""The validation service: what a SCEP server asks about a CSR and tells about its certificate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulators.intune.challenges import Challenges
from tests.simulators.intune.checks import scep, violation
from tests.simulators.intune.codes import SCEP_API_VERSION
from tests.simulators.intune.exchange import Answer, Exchange, Gate, Operation
from tests.simulators.intune.feservice import FrontDoor, in_case

Key = tuple[str, str, bytes]
"""Tenant, transaction, CSR."""


class Validation:
    """ScepRequestValidationFEService."""

    def __init__(self, gate: Gate, door: FrontDoor, challenges: Challenges) -> None:
        self._gate = gate
        self._door = door
        self._challenges = challenges
        self._answered: dict[Key, str | None] = {}
        self.notified: list[tuple[str, dict[str, Any]]] = []
        """Tenant and `notification` of every success recorded."""

    def operations(self) -> list[tuple[str, Operation]]:
        """Paths below the service's URI."""
        return [
            (
                "ScepActions/validateRequest",
                Operation("validateRequest", self._admitter(scep.validation), self._validate, self._remember),
            ),
            (
                "ScepActions/successNotification",
                Operation("successNotification", self._admitter(scep.success, self._in_order), self._success),
            ),
            (
                "ScepActions/failureNotification",
                Operation("failureNotification", self._admitter(scep.failure, self._in_order), self._failure),
            ),
        ]

    def _admitter(
        self, shape: Callable[[Any], list[str]], order: Callable[[Exchange], list[str]] | None = None
    ) -> Callable[[Exchange], Answer | None]:
        def admit(exchange: Exchange) -> Answer | None:
            refused = self._door.admit(exchange, "1.3-api-version", SCEP_API_VERSION, shape)
            wrong = exchange.call.violations
            if refused is None and order is not None and not wrong:
                wrong += order(exchange)
            return refused or self._door.judge(exchange)

        return admit

    def _in_order(self, exchange: Exchange) -> list[str]:
        key = self._key(exchange)
        if key not in self._answered:
            return [violation("1.3-order", "no validateRequest for this transaction and these bytes")]
        code = self._answered[key]
        if code == "Success":
            return []
        fact = "1.4-fail-closed" if exchange.call.operation == "successNotification" else "1.3-own-failures"
        return [violation(fact, f"validateRequest answered {code}")]

    def _validate(self, exchange: Exchange) -> Answer:
        tenant = exchange.known()
        _, _, der = self._key(exchange)
        return self._result(exchange, self._challenges.judge(tenant.tenant_id, der, self._gate.clock.now()))

    def _remember(self, exchange: Exchange, answer: Answer | None) -> None:
        if exchange.tenant is None or exchange.call.violations:
            return
        body = answer.body if answer is not None and answer.status == 200 else None
        code = (body.get("code") or body.get("Code")) if isinstance(body, dict) else None
        self._answered[self._key(exchange)] = code

    def _success(self, exchange: Exchange) -> Answer:
        self.notified.append((exchange.known().tenant_id, exchange.call.json["notification"]))
        return self._result(exchange, "Success")

    def _failure(self, exchange: Exchange) -> Answer:
        return self._result(exchange, "Success")

    def _result(self, exchange: Exchange, code: str) -> Answer:
        description = "" if code == "Success" else f"{code} for this request"
        return Answer(200, in_case(exchange.known(), {"code": code, "errorDescription": description}))

    def _key(self, exchange: Exchange) -> Key:
        (inner,) = exchange.call.json.values()
        return exchange.known().tenant_id, inner["transactionId"], scep.decoded(inner["certificateRequest"]) or b""
