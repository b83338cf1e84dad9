"""Writes an answer, or fails to in the way a fault asks for."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from tests.simulators.intune.exchange import Answer, service_error
from tests.simulators.intune.faults import Fault
from tests.simulators.intune.recorder import Call

CHUNK = b"x" * 65536
READABLE = {"code", "status", "delay", "hold", "content-type", "redirect", "answer", "omit"}
"""Kinds after which the caller has an answer it can read."""


def shaped(answer: Answer | None, fault: Fault, elsewhere: str) -> Answer:
    """What the caller is to get under this fault; `answer` is what the work came to, None when it was not done."""
    if fault.kind == "code":
        return Answer(200, {"code": fault.code, "errorDescription": fault.message})
    if fault.kind == "status":
        error = service_error(fault.status, fault.code, fault.message)
        return Answer(error.status, error.body, {"Retry-After": fault.retry_after} if fault.retry_after else {})
    if fault.kind == "garbage":
        return Answer(200, b"\x1f\x8b<html>{not json")
    if fault.kind == "redirect":
        return Answer(fault.status, {}, {"Location": fault.location or elsewhere})
    if fault.kind == "answer":
        return Answer(fault.status, fault.body, content_type=fault.content_type)
    done = answer or Answer(200, {})
    if fault.kind == "content-type":
        return Answer(done.status, encoded(done), done.headers, fault.content_type)
    return done


async def write(request: web.Request, answer: Answer, fault: Fault | None, call: Call) -> web.StreamResponse:
    """Send it; a connection that ends early is the caller's business."""
    kind = fault.kind if fault is not None else None
    body = encoded(answer)
    if kind == "cut":
        return cut(request)
    if kind == "cut-mid-body":
        response = web.StreamResponse(status=answer.status, headers=_headers(answer))
        response.content_length = len(body) + 64
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        return cut(request, response)
    if kind == "oversized" and fault is not None:
        return await _oversized(request, fault.size, call)
    return web.Response(status=answer.status, body=body, headers=_headers(answer))


def encoded(answer: Answer) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    return answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()


def cut(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """End the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


async def _oversized(request: web.Request, size: int, call: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    try:
        await response.write(b'{"code":"Success","value":[],"errorDescription":"')
        while call.sent < size:
            await response.write(CHUNK)
            call.sent += len(CHUNK)
        await response.write(b'"}')
        await response.write_eof()
    except (ConnectionError, asyncio.CancelledError):
        return cut(request, response)
    return response


def _headers(answer: Answer) -> dict[str, str]:
    return {"Content-Type": answer.content_type, **answer.headers}
