"""Graph: the one list this is about, the endpoints of the Intune service principal."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulators.intune.checks import headers, violation
from tests.simulators.intune.codes import GRAPH_ROLE, INTUNE_APP_ID, SCEP_ROLE, SCEP_SERVICE, SERVICE_PATHS
from tests.simulators.intune.directory import Tenant
from tests.simulators.intune.exchange import Answer, Exchange, Gate, Operation, service_error

CASES: dict[str, Callable[[str], str]] = {"documented": str, "lower": str.lower, "upper": str.upper}


class Graph:
    """Service discovery."""

    def __init__(self, gate: Gate, unit_url: Callable[[str], str]) -> None:
        self._gate = gate
        self._unit_url = unit_url

    def operations(self) -> list[tuple[str, Operation]]:
        """Paths below the Graph resource: the documented one, and the spelling of it that Graph takes as the same."""
        endpoints = Operation("endpoints", self._admit, self._perform)
        principal = "v1.0/servicePrincipals"
        return [
            (f"{principal}/appId={INTUNE_APP_ID}/endpoints", endpoints),
            (f"{principal}(appId='{INTUNE_APP_ID}')/endpoints", endpoints),
        ]

    def _admit(self, exchange: Exchange) -> Answer | None:
        refused = self._gate.admit(exchange, "graph", "1.2-authorization")
        request, wrong = exchange.request, exchange.call.violations
        if request.method != "GET" or request.query_string:
            wrong.append(violation("1.2-method", f"{request.method} with query {request.query_string!r}"))
        wrong += headers.request_id(request, "1.2-request-id", self._gate.recorder.first_use)
        if refused is None and wrong:
            return service_error(400, "BadRequest", "; ".join(wrong))
        if refused is None and exchange.token is not None and GRAPH_ROLE not in exchange.token.roles:
            message = "Insufficient privileges to complete the operation."
            return service_error(403, "Authorization_RequestDenied", message)
        return refused

    def _perform(self, exchange: Exchange) -> Answer:
        tenant = exchange.known()
        entries = [
            {tenant.name_key: CASES[tenant.name_case](name), "uri": f"{self._unit_url(tenant.unit)}{path}"}
            for name, path in self._services(exchange, tenant).items()
        ]
        other = {tenant.name_key: "SomeOtherFEService", "uri": f"{self._unit_url(tenant.unit)}Other"}
        return Answer(200, {"value": [other, *entries]})

    def _services(self, exchange: Exchange, tenant: Tenant) -> dict[str, str]:
        hidden = {exchange.omitted()}
        if not tenant.licensed or exchange.app is None or SCEP_ROLE not in exchange.app.roles:
            hidden.add(SCEP_SERVICE)
        return {name: path for name, path in SERVICE_PATHS.items() if name not in hidden}
