"""What both Intune services have in common: the front door with its checks, and the case of their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulators.intune.checks import headers
from tests.simulators.intune.codes import SCEP_ROLE
from tests.simulators.intune.directory import Tenant
from tests.simulators.intune.exchange import Answer, Exchange, Gate, bad_request, service_error


class FrontDoor:
    """Token, headers, JSON and shape, then whether this unit and this role may."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def admit(
        self, exchange: Exchange, version_fact: str, version: str, shape: Callable[[Any], list[str]]
    ) -> Answer | None:
        """Note every violation of the request; an answer only where there is no good token."""
        refused = self._gate.admit(exchange, "intune", "1.3-authorization")
        wrong = exchange.call.violations
        wrong += headers.service_call(exchange.request, version_fact, version)
        wrong += headers.request_id(exchange.request, "1.3-request-id", self._gate.recorder.first_use)
        exchange.call.json, not_json = headers.json_object(exchange.raw)
        wrong += not_json or shape(exchange.call.json)
        return refused

    def judge(self, exchange: Exchange) -> Answer | None:
        """The refusal that follows from what was noted, from the unit it came to, or from the token's roles."""
        tenant = exchange.known()
        if exchange.where["unit"] != tenant.unit:
            return service_error(tenant.moved_status, "ResourceNotFound", "The account is not in this scale unit.")
        if exchange.call.violations:
            return bad_request(exchange.call.violations)
        if exchange.token is None or SCEP_ROLE not in exchange.token.roles:
            return service_error(403, "Forbidden", f"The application lacks the role {SCEP_ROLE}.")
        return None


def in_case(tenant: Tenant, value: Any) -> Any:
    """The value with its keys in the case this tenant's services write; `@…` keys stay."""
    if isinstance(value, list):
        return [in_case(tenant, each) for each in value]
    if not isinstance(value, dict) or tenant.key_case == "camel":
        return value
    return {key[:1].upper() + key[1:]: in_case(tenant, each) for key, each in value.items()}
