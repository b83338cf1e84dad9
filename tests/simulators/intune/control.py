"""The control endpoint: POST /VERB with a JSON object of arguments, over plain HTTP on loopback, answers JSON.

add_tenant          domains, tenant_id                                -> the tenant
add_app             tenant, client_id, secret, certificates, roles    -> client_id (certificates: PEM texts)
set_tenant          tenant, and fields of Tenant                      -> the tenant
set_app             tenant, client_id, and fields of App              -> null
new_challenge       tenant, device_id, profile, seconds, and fields of DeviceChallenge -> {"text", ...}
fail                operation, fault (fields of Fault), times, tenant -> {"number"}
lift, release       number                                            -> null
request_revocation  tenant, serial_number, issuer_name, ca_configuration -> the request
revoke_notified     tenant, transaction_id                            -> the request
revocations                                                           -> all requests with their results
move                tenant, old                                       -> {"unit"}
advance             seconds                                           -> null
revoke_tokens       tenant                                            -> null
calls               operation, tenant                                 -> [calls]
violations                                                            -> [texts]
wait_for            operation, count, seconds                         -> [calls], 408 when they did not arrive
forget_calls                                                          -> null
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web
from cryptography import x509

from tests.simulators.intune.directory import App, Tenant
from tests.simulators.intune.faults import Fault
from tests.simulators.intune.simulator import IntuneSimulator


class Control:
    """The verbs, each a method of the same name taking the JSON object's fields."""

    def __init__(self, simulator: IntuneSimulator) -> None:
        self._simulator = simulator

    async def handle(self, request: web.Request) -> web.Response:
        """Run one verb; 404 for an unknown one, 408 for a wait in vain, 400 for arguments that do not fit."""
        verb = getattr(self, "do_" + request.match_info["verb"], None)
        if verb is None:
            return web.json_response({"error": "no such verb"}, status=404)
        try:
            answer = verb(**(await request.json() if request.can_read_body else {}))
            if hasattr(answer, "__await__"):
                answer = await answer
        except TimeoutError:
            return web.json_response({"error": "not in time"}, status=408)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        return web.json_response(answer)

    def do_add_tenant(self, domains: list[str] | None = None, tenant_id: str | None = None) -> Any:
        return _tenant(self._simulator.add_tenant(*(domains or []), tenant_id=tenant_id))

    def do_add_app(self, tenant: str, certificates: list[str] | None = None, **rest: Any) -> Any:
        parsed = [x509.load_pem_x509_certificate(text.encode()) for text in certificates or []]
        return {"client_id": self._simulator.add_app(tenant, certificates=parsed, **rest).client_id}

    def do_set_tenant(self, tenant: str, **values: Any) -> Any:
        found = self._simulator.tenant(tenant)
        _set(found, values)
        return _tenant(found)

    def do_set_app(self, tenant: str, client_id: str, **values: Any) -> None:
        if "roles" in values:
            values["roles"] = set(values["roles"])
        _set(self._simulator.tenant(tenant).apps[client_id], values)

    def do_new_challenge(self, tenant: str, **rules: Any) -> Any:
        sets = {"sans", "key_usage", "extended_key_usage"} & rules.keys()
        made = self._simulator.new_challenge(tenant, **rules | {key: set(rules[key]) for key in sets})
        return {"text": made.text, "device_id": made.device_id, "profile": made.profile, "expires_at": made.expires_at}

    def do_fail(self, operation: str, fault: dict[str, Any], times: int | None = 1, tenant: str | None = None) -> Any:
        return {"number": self._simulator.fail(operation, Fault(**fault), times=times, tenant=tenant).number}

    def do_lift(self, number: int | None = None) -> None:
        self._simulator.faults.lift(number)

    def do_release(self, number: int) -> None:
        self._simulator.faults.release(number)

    def do_request_revocation(self, tenant: str, **rest: Any) -> Any:
        return asdict(self._simulator.request_revocation(tenant, **rest))

    def do_revoke_notified(self, tenant: str, transaction_id: str | None = None) -> Any:
        return asdict(self._simulator.revoke_notified(tenant, transaction_id))

    def do_revocations(self) -> Any:
        return [asdict(each) | {"pending": each.pending} for each in self._simulator.revocations.requests]

    async def do_move(self, tenant: str, old: Any = 404) -> Any:
        return {"unit": await self._simulator.move(tenant, old=old)}

    def do_advance(self, seconds: float) -> None:
        self._simulator.advance(seconds)

    def do_revoke_tokens(self, tenant: str | None = None) -> None:
        self._simulator.revoke_tokens(tenant)

    def do_calls(self, operation: str | None = None, tenant: str | None = None) -> Any:
        return [call.to_json() for call in self._simulator.calls(operation, tenant)]

    def do_violations(self) -> Any:
        return self._simulator.violations

    async def do_wait_for(self, operation: str, count: int = 1, seconds: float = 20.0) -> Any:
        return [call.to_json() for call in await self._simulator.wait_for(operation, count, seconds)]

    def do_forget_calls(self) -> None:
        self._simulator.recorder.forget()


def _tenant(tenant: Tenant) -> dict[str, Any]:
    return {"tenant_id": tenant.tenant_id, "domains": list(tenant.domains), "unit": tenant.unit}


def _set(target: Tenant | App, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if not hasattr(target, name):
            raise AttributeError(name)
        setattr(target, name, value)
