"""CA certificates and CRLs: content types, caching, conditional requests, and nothing where there is nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Authority = tuple[bytes, ec.EllipticCurvePrivateKey]


def crl(authority: Authority, number: int, *, ends: timedelta = timedelta(days=7)) -> bytes:
    der, key = authority
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_der_x509_certificate(der).subject)
        .last_update(NOON - timedelta(hours=1))
        .next_update(NOON + ends)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


async def test_a_ca_certificate(public: Any) -> None:
    reply = await public.get("/ca/abcd.cer")
    assert (reply.status, reply.headers["content-type"], reply.body) == (
        200, "application/pkix-cert", public.certificate,
    )  # fmt: skip
    head = await public.get("/ca/abcd.cer", method="HEAD")
    assert head.headers["content-length"] == str(len(public.certificate))


async def test_a_crl_and_what_caches_are_told(public: Any, authority: Authority) -> None:
    public.crls.documents["abcd", 0] = first = crl(authority, 1)
    reply = await public.get("/crl/abcd/0.crl")
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "application/pkix-crl", first)
    assert reply.headers["last-modified"] == "Thu, 01 Jan 2026 11:00:00 GMT"
    assert reply.headers["cache-control"] == "public, max-age=300"
    known = await public.get("/crl/abcd/0.crl", f'If-None-Match: W/{reply.headers["etag"]}, "other"')
    assert (known.status, known.body) == (304, b"")
    since = await public.get("/crl/abcd/0.crl", "If-Modified-Since: Thu, 01 Jan 2026 11:00:00 GMT")
    assert since.status == 304

    public.crls.documents["abcd", 0] = second = crl(authority, 2, ends=timedelta(seconds=20))
    renewed = await public.get("/crl/abcd/0.crl", f"If-None-Match: {reply.headers['etag']}")
    assert (renewed.status, renewed.body) == (200, second)
    assert renewed.headers["cache-control"] == "public, max-age=20"


@pytest.mark.parametrize("header", ['If-None-Match: "x', "If-Modified-Since: yesterday", "If-None-Match: ",
                                    "If-Modified-Since: Thu, 01 Jan 2026 10:59:59 GMT"])  # fmt: skip
async def test_conditions_that_do_not_hold_get_the_whole(public: Any, authority: Authority, header: str) -> None:
    public.crls.documents["abcd", 0] = crl(authority, 1)
    assert (await public.get("/crl/abcd/0.crl", header)).status == 200


async def test_an_expired_crl_is_served_but_not_kept(public: Any, authority: Authority) -> None:
    public.crls.documents["abcd", 0] = crl(authority, 1, ends=-timedelta(minutes=1))
    reply = await public.get("/crl/abcd/0.crl")
    assert (reply.status, reply.headers["cache-control"]) == (200, "public, max-age=0")


@pytest.mark.parametrize(
    "path",
    ["/ca", "/ca/", "/ca/abcd", "/ca/abce.cer", "/ca/abcd.cer/x", "/crl/abcd/1.crl", "/crl/abcd/00.crl", "/crl/abcd/0",
     "/crl/abcd/-1.crl", "/crl/abcd/%30.crl", "/crl/abcd/9999999999.crl", "/crl/abce/0.crl", "/crl/abcd", "/crl"],
)  # fmt: skip
async def test_nothing_elsewhere(public: Any, authority: Authority, path: str) -> None:
    public.crls.documents["abcd", 0] = crl(authority, 1)
    assert (await public.get(path)).status == 404


@pytest.mark.parametrize("path", ["/ca/abcd.cer", "/crl/abcd/0.crl"])
async def test_they_are_read_only(public: Any, authority: Authority, path: str) -> None:
    public.crls.documents["abcd", 0] = crl(authority, 1)
    reply = await public.get(path, method="DELETE")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
