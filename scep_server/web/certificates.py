"""CA certificates and CRLs at the addresses that every certificate carries (AIA, CRL distribution point).

Answered from memory, so that relying parties are served while the database is down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final, Protocol

from aiohttp import web
from cryptography import x509

from scep_server.web.errors import HEADERS, HttpRefusal
from scep_server.web.listen import OPERATION

_CRL_SECONDS: Final = 300
"""A CRL is renewed on revocation, so caches keep one for minutes; asking again costs them a 304."""
_CERTIFICATE_SECONDS: Final = 86400
_READ_ONLY: Final = {"Allow": "GET, HEAD"}


class Crls(Protocol):
    """Where current CRLs are found."""

    def current(self, issuer_id: str, shard: int) -> bytes | None:
        """DER from memory; None for an issuer or shard we do not have."""
        ...


@dataclass(frozen=True, slots=True)
class _Document:
    """Bytes with the headers that say how long they may be kept."""

    body: bytes
    etag: str
    modified: datetime
    until: datetime | None

    def headers(self, content_type: str, now: datetime, longest: int) -> dict[str, str]:
        left = longest if self.until is None else int((self.until - now).total_seconds())
        return {
            **HEADERS,
            "Content-Type": content_type,
            "ETag": self.etag,
            "Last-Modified": format_datetime(self.modified, usegmt=True),
            "Cache-Control": f"public, max-age={max(0, min(longest, left))}",
        }

    def is_known(self, request: web.BaseRequest) -> bool:
        """RFC 9110 section 13.2.2: If-None-Match decides alone where it is sent."""
        tags = request.headers.get("If-None-Match")
        if tags is not None:
            return tags.strip() == "*" or self.etag in {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        since = request.headers.get("If-Modified-Since")
        if since is None:
            return False
        try:
            told = parsedate_to_datetime(since)
        except ValueError:
            return False
        return self.modified <= (told if told.tzinfo else told.replace(tzinfo=UTC))


class AuthorityEndpoint:
    """`/ca/{issuer}.cer` by certificate(), `/crl/{issuer}/{shard}.crl` by crl().

    certificates: DER of each issuing CA by issuer_id. crls: the store behind. clock: aware UTC now.
    """

    def __init__(self, certificates: Mapping[str, bytes], crls: Crls, clock: Callable[[], datetime]) -> None:
        self._certificates = {
            issuer_id: _Document(der, _etag(der), x509.load_der_x509_certificate(der).not_valid_before_utc, None)
            for issuer_id, der in certificates.items()
        }
        self._crls = crls
        self._clock = clock
        self._seen: dict[tuple[str, int], _Document] = {}

    async def certificate(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """An issuing CA's certificate, for whoever follows an AIA address."""
        request[OPERATION] = "certificate"
        document = self._certificates.get(below[0].removesuffix(".cer")) if len(below) == 1 else None
        if document is None or not below[0].endswith(".cer"):
            raise LookupError("no such CA certificate")
        return self._answer(request, document, "application/pkix-cert", _CERTIFICATE_SECONDS)

    async def crl(self, request: web.BaseRequest, below: Sequence[str]) -> web.Response:
        """The current CRL of one shard of an issuer."""
        request[OPERATION] = "crl"
        if len(below) != 2 or not below[1].endswith(".crl"):
            raise LookupError("no such CRL")
        shard = below[1].removesuffix(".crl")
        if not shard.isascii() or not shard.isdigit() or len(shard) > 6 or (len(shard) > 1 and shard[0] == "0"):
            raise LookupError("no such CRL")
        return self._answer(request, self._current(below[0], int(shard)), "application/pkix-crl", _CRL_SECONDS)

    def _current(self, issuer_id: str, shard: int) -> _Document:
        der = self._crls.current(issuer_id, shard)
        if der is None:
            raise LookupError("no such CRL")
        seen = self._seen.get((issuer_id, shard))
        if seen is None or seen.body is not der:
            crl = x509.load_der_x509_crl(der)
            seen = _Document(der, _etag(der), crl.last_update_utc, crl.next_update_utc)
            self._seen[issuer_id, shard] = seen
        return seen

    def _answer(self, request: web.BaseRequest, document: _Document, content_type: str, longest: int) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            raise HttpRefusal(405, "method not served", _READ_ONLY)
        headers = document.headers(content_type, self._clock(), longest)
        if document.is_known(request):
            del headers["Content-Type"]
            return web.Response(status=304, headers=headers)
        return web.Response(body=document.body, headers=headers)


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
