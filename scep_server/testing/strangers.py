"""HTTP requests of those who have no business here: scanners, browsers, forms of another product, half a body."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Final

from scep_server.types import HttpRequest, Source

STRANGER: Final = Source("198.51.100.9", "scanner")
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND")
PATHS: Final = ("", "/", "/more", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/" + "a" * 2000)
QUERIES: Final = ("", "=", "a=1&a=2&a[]=%zz", "%00%ff", "q=" + "x" * 4000)
HEADERS: Final[tuple[Mapping[str, str], ...]] = (
    {},
    {"authorization": "Basic " + base64.b64encode(b"admin:admin").decode()},
    {"authorization": "Basic !!!"},
    {"authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
    {"authorization": "Bearer "},
    {"authorization": "Bearer wrong-token-wrong-token"},
    {"authorization": "NTLM TlRMTVNTUAABAAAA"},
    {"authorization": "x" * 8000},
    {"authorization": "Bearer \u00e9\ufffd"},
)
BODIES: Final[tuple[tuple[str, bytes], ...]] = (
    ("", b""),
    ("application/json", b"{}"),
    ("application/json", b"[" * 20_000),
    ("application/json", b'{"a": NaN, "a": 1e999}'),
    ("application/json", b"\xff\xfe\x00"),
    ("application/json; charset=utf-99", b"{}"),
    ("text/xml", b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'),
    ("text/xml", b"<a>" * 20_000),
    ("application/x-www-form-urlencoded", b"a=%zz&=&&"),
    ("multipart/form-data", b"--x\r\n"),
    ("\x7f/;;=", bytes(range(256)) * 256),
)


def requests_of_strangers() -> Iterator[HttpRequest]:
    """Each kind of oddity once, beside an otherwise plain request; over plain HTTP too."""
    for method in METHODS:
        yield _request(method)
    for path in PATHS:
        yield from (_request(method, below=path) for method in ("GET", "POST"))
    for query in QUERIES:
        yield from (_request(method, query=query) for method in ("GET", "POST"))
    for headers in HEADERS:
        for confidential in (True, False):
            yield _request("GET", headers=headers, confidential=confidential)
            yield _request("POST", headers=headers, body=b"{}", confidential=confidential)
    for content_type, body in BODIES:
        yield from (_request(method, headers={"content-type": content_type}, body=body) for method in ("POST", "PUT"))


def _request(
    method: str,
    *,
    below: str = "",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    confidential: bool = True,
) -> HttpRequest:
    return HttpRequest(method, below, query, headers or {}, body, STRANGER, confidential)
