"""The simulator's paths, and the way every request takes: record, check, fault, work, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from tests.simulators.intune.checks import violation
from tests.simulators.intune.codes import PKI_SERVICE, SCEP_SERVICE, SERVICE_PATHS
from tests.simulators.intune.entra import Entra
from tests.simulators.intune.exchange import Answer, Exchange, Gate, Operation, service_error
from tests.simulators.intune.faults import Planned
from tests.simulators.intune.graph import Graph
from tests.simulators.intune.listeners import Listeners
from tests.simulators.intune.recorder import without_token
from tests.simulators.intune.replies import READABLE, cut, shaped, write

if TYPE_CHECKING:
    from tests.simulators.intune.simulator import IntuneSimulator

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_LIMIT = 16 << 20


def application(simulator: IntuneSimulator, gate: Gate, listeners: Listeners) -> web.Application:
    """Everything below one origin; the scale units' listeners serve it too."""
    app = web.Application(client_max_size=BODY_LIMIT)
    entra = Entra(simulator.directory, simulator.clock, simulator.urls.authority, simulator.urls.graph)
    graph = Graph(gate, listeners.unit_url)
    below = [
        ("/entra/", entra.operations()),
        ("/graph/", graph.operations()),
        (f"/fef/{{unit}}/{SERVICE_PATHS[SCEP_SERVICE]}/", simulator.validation.operations()),
        (f"/fef/{{unit}}/{SERVICE_PATHS[PKI_SERVICE]}/", simulator.revocations.operations()),
        ("/elsewhere/", [("{rest:.*}", Operation("elsewhere", lambda _: None, lambda _: Answer(200, {})))]),
        ("/", [("{rest:.*}", Operation("unknown", _unknown, lambda _: Answer(404, {})))]),
    ]
    for prefix, operations in below:
        for path, operation in operations:
            app.router.add_route("*", prefix + path, _handler(simulator, listeners, operation))
    return app


def _unknown(exchange: Exchange) -> Answer:
    exchange.call.violations.append(violation("1.3-path", exchange.request.path))
    return service_error(404, "ResourceNotFound", "No such resource.")


def _handler(simulator: IntuneSimulator, listeners: Listeners, operation: Operation) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = simulator.recorder.open(operation.name, request, body)
        unit = listeners.units.get(request.match_info.get("unit", ""))
        if unit is not None and not unit.open:  # a connection kept alive from before the unit was closed
            call.fault = "refused"
            return cut(request)
        exchange = Exchange(request, body, call)
        refused = operation.admit(exchange)
        planned = simulator.faults.meet(operation.name, call.tenant)
        if planned is None:
            answer, readable = refused or operation.perform(exchange), True
        else:
            exchange.fault, call.fault = planned.fault, planned.fault.kind
            answer = await _faulty(
                operation, exchange, refused, planned, simulator.urls.graph.removesuffix("graph") + "elsewhere/"
            )
            readable = planned.fault.kind in READABLE
        listening = request.transport is not None and not request.transport.is_closing()
        operation.settle(exchange, answer if readable and listening else None)
        if readable and listening:
            call.status, call.answer = answer.status, without_token(answer.body)
        return await write(request, answer, exchange.fault, call)

    return handle


async def _faulty(
    operation: Operation, exchange: Exchange, refused: Answer | None, planned: Planned, elsewhere: str
) -> Answer:
    fault, done = planned.fault, None
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
    if fault.kind == "hold" and not fault.effect:
        await planned.released()
    if not fault.instead:
        done = refused or operation.perform(exchange)
    if fault.kind == "hold" and fault.effect:
        await planned.released()
    return shaped(done, fault, elsewhere)
