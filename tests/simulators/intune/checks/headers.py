"""Checks of what surrounds the body: method, query, headers, and whether the body is JSON at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.simulators.intune.checks import violation

GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
JSON_TYPE = re.compile(r'application/json(;\s*charset="?utf-8"?)?', re.IGNORECASE)


def service_call(request: web.Request, api_version_fact: str, api_version: str) -> list[str]:
    """Method, query, content type and api-version of a call to one of the two services."""
    found = []
    if request.method != "POST":
        found.append(violation("1.3-method", f"{request.method}"))
    if request.query_string:
        found.append(violation("1.3-query", f"query {request.query_string!r}"))
    if not JSON_TYPE.fullmatch(request.headers.get("Content-Type", "")):
        found.append(violation("1.3-content-type", f"Content-Type {request.headers.get('Content-Type')!r}"))
    if request.headers.getall("api-version", []) != [api_version]:
        found.append(violation(api_version_fact, f"api-version {request.headers.getall('api-version', [])}"))
    return found


def request_id(request: web.Request, fact: str, first_use: Callable[[str], bool]) -> list[str]:
    """One client-request-id, a GUID, never seen before."""
    sent = request.headers.getall("client-request-id", [])
    if len(sent) != 1 or not GUID.fullmatch(sent[0]):
        return [violation(fact, f"client-request-id {sent}")]
    return [] if first_use(sent[0]) else [violation(fact, f"client-request-id {sent[0]} was used before")]


def json_object(body: bytes) -> tuple[Any, list[str]]:
    """The parsed body, None when there is none, and what is wrong with it."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except ValueError as error:
        return None, [violation("1.3-json", f"body is not JSON: {error}")]
    if not isinstance(value, dict):
        return None, [violation("1.3-json", f"body is a {type(value).__name__}")]
    return value, []


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)
