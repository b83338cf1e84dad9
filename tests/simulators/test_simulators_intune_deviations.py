"""Every deviation from a documented fact is a violation under that fact's name, and is refused."""

from __future__ import annotations

import base64
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.simulators.documented import (
    INTUNE_SCOPE,
    SECRET,
    DocumentedClient,
    Reply,
    Request,
    app_certificate,
    assertion,
    download,
    failure,
    make_csr,
    result,
    success,
    validation,
)
from tests.simulators.intune import FACTS, IntuneSimulator

REUSED = str(uuid.uuid4())


@dataclass(frozen=True)
class Deviation:
    """One way to leave the document, and the fact it leaves."""

    fact: str
    bend: Callable[[Request], object]
    status: int = 400

    def __str__(self) -> str:
        return self.fact


def header(name: str, value: str | None) -> Callable[[Request], object]:
    def bend(request: Request) -> None:
        request.headers.pop(name)
        if value is not None:
            request.headers[name] = value

    return bend


def field(name: str, value: Any) -> Callable[[Request], object]:
    """Set a key of the inner object; Ellipsis drops it."""

    def bend(request: Request) -> None:
        (inner,) = request.body.values()
        inner[name] = value
        if value is ...:
            del inner[name]

    return bend


def csr_text(change: Callable[[str], Any]) -> Callable[[Request], object]:
    def bend(request: Request) -> None:
        (inner,) = request.body.values()
        inner["certificateRequest"] = change(inner["certificateRequest"])

    return bend


def body(value: Any) -> Callable[[Request], object]:
    return lambda request: setattr(request, "body", value)


def method(name: str) -> Callable[[Request], object]:
    return lambda request: setattr(request, "method", name)


def url(addition: str) -> Callable[[Request], object]:
    return lambda request: setattr(request, "url", request.url + addition)


def pem(text: str) -> str:
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"


SERVICE = [
    Deviation("1.3-method", method("PUT")),
    Deviation("1.3-query", url("?api-version=2018-02-20")),
    Deviation("1.3-path", url("s"), 404),
    Deviation("1.3-authorization", header("Authorization", None), 401),
    Deviation("1.3-authorization", header("Authorization", "Basic dTpw"), 401),
    Deviation("1.3-authorization", header("Authorization", "Bearer nobodys"), 401),
    Deviation("1.3-content-type", header("Content-Type", None)),
    Deviation("1.3-content-type", header("Content-Type", "text/plain")),
    Deviation("1.3-content-type", header("Content-Type", "application/json; charset=latin-1")),
    Deviation("1.3-request-id", header("client-request-id", None)),
    Deviation("1.3-request-id", header("client-request-id", "6021370951217344")),
    Deviation("1.3-json", body(b"<xml/>")),
    Deviation("1.3-json", body(b"[]")),
    Deviation("1.3-json", body(b'{"request":{},"request":{}}')),
]
VALIDATE = [
    *SERVICE,
    Deviation("1.3-api-version", header("api-version", None)),
    Deviation("1.3-api-version", header("api-version", "5019-05-05")),
    Deviation("1.3-keys", body({})),
    Deviation("1.3-keys", body({"request": "text"})),
    Deviation("1.3-keys", lambda request: request.body.update(extra=1)),
    Deviation("1.3-keys", lambda request: request.body.update(Request=request.body.pop("request"))),
    Deviation("1.3-keys", field("callerInfo", ...)),
    Deviation("1.3-keys", field("TransactionId", "TX-1")),
    Deviation("1.3-text", field("transactionId", "")),
    Deviation("1.3-text", field("transactionId", 5)),
    Deviation("1.3-text", field("callerInfo", None)),
    Deviation("1.3-csr", csr_text(pem)),
    Deviation("1.3-csr", csr_text(lambda text: base64.b64encode(pem(text).encode()).decode())),
    Deviation("1.3-csr", csr_text(lambda text: text[:64] + "\n" + text[64:])),
    Deviation("1.3-csr", csr_text(lambda text: base64.b64encode(base64.b64decode(text) + b"\0").decode())),
    Deviation("1.3-csr", csr_text(lambda text: base64.b64encode(base64.b64decode(text)[:-1]).decode())),
    Deviation("1.3-csr", csr_text(lambda text: base64.urlsafe_b64encode(b"\xfb\xff" + text.encode()).decode())),
    Deviation("1.3-csr", csr_text(lambda _text: None)),
]
SUCCESS = [
    *SERVICE,
    Deviation("1.3-keys", field("certificateThumbprint", ...)),
    Deviation("1.3-keys", field("hResult", 5)),
    Deviation("1.3-text", field("issuingCertificateAuthority", "")),
    Deviation("1.3-csr", csr_text(pem)),
    Deviation(
        "1.3-thumbprint", field("certificateThumbprint", "01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67")
    ),
    Deviation("1.3-thumbprint", field("certificateThumbprint", "0" * 64)),
    Deviation("1.3-serial", field("certificateSerialNumber", "0A:1B")),
    Deviation("1.3-serial", field("certificateSerialNumber", 2587)),
    Deviation("1.3-expiration", field("certificateExpirationDateUtc", "2031-06-11T16:11:20Z")),
    Deviation("1.3-expiration", field("certificateExpirationDateUtc", "2031-06-11T16:11:20.000+02:00")),
    Deviation("1.3-expiration", field("certificateExpirationDateUtc", "2031-13-11T16:11:20.000Z")),
    Deviation("1.3-optional", field("caConfiguration", 5)),
    Deviation("1.3-order", field("transactionId", "TX-2")),
]
FAILURE = [
    *SERVICE,
    Deviation("1.3-keys", field("errorDescription", ...)),
    Deviation("1.3-keys", field("caConfiguration", "laptops")),
    Deviation("1.3-hresult", field("hResult", -2147024894)),
    Deviation("1.3-hresult", field("hResult", "2147549183")),
    Deviation("1.3-hresult", field("hResult", 1234)),
    Deviation("1.3-hresult", field("hResult", 0)),
    Deviation("1.3-description", field("errorDescription", "x" * 256)),
    Deviation("1.3-description", field("errorDescription", None)),
    Deviation("1.3-order", field("transactionId", "TX-2")),
]
DOWNLOAD = [
    *SERVICE,
    Deviation("1.5-api-version", header("api-version", "2018-02-20")),
    Deviation("1.5-keys", body({"downloadParameters": {"maxRequests": 5}})),
    Deviation("1.5-keys", field("transactionId", "TX-1")),
    Deviation("1.5-maximum", field("maxRequests", 0)),
    Deviation("1.5-maximum", field("maxRequests", 501)),
    Deviation("1.5-maximum", field("maxRequests", "100")),
    Deviation("1.5-maximum", field("maxRequests", True)),
    Deviation("1.5-issuer", field("issuerName", 5)),
]


def results(*changes: dict[str, Any]) -> Callable[[Request], object]:
    def bend(request: Request) -> None:
        (own,) = request.body["results"]
        request.body["results"] = [own | change for change in changes]

    return bend


UPLOAD = [
    Deviation("1.5-api-version", header("api-version", "2018-02-20")),
    Deviation("1.5-keys", body({"results": [{"requestContext": "x", "succeeded": True}]})),
    Deviation("1.5-keys", body({"Results": []})),
    Deviation("1.5-keys", results({"serialNumber": "01"})),
    Deviation("1.5-results", body({"results": []})),
    Deviation("1.5-results", body({"results": {}})),
    Deviation("1.5-results", results({}, {})),
    Deviation("1.5-context", results({"requestContext": "never handed out"})),
    Deviation("1.5-context", results({"requestContext": 5})),
    Deviation("1.5-error-code", results({"errorCode": 0})),
    Deviation("1.5-error-code", results({"errorCode": "none"})),
    Deviation("1.5-error-code", results({"errorCode": "4999", "succeeded": False})),
    Deviation("1.5-one-spelling", results({"errorCode": "0"})),
    Deviation("1.5-succeeded", results({"succeeded": "true"})),
    Deviation("1.5-succeeded", results({"succeeded": False})),
    Deviation("1.5-succeeded", results({"errorCode": "ConflictError"})),
    Deviation("1.5-succeeded", results({"errorMessage": "fine"})),
    Deviation("1.5-message", results({"errorMessage": 5, "succeeded": False, "errorCode": "ConflictError"})),
]
DISCOVERY = [
    Deviation("1.2-method", url("?api-version=1.6")),
    Deviation("1.2-method", method("POST")),
    Deviation("1.2-authorization", header("Authorization", None), 401),
    Deviation("1.2-request-id", header("client-request-id", None)),
    Deviation("1.2-request-id", header("client-request-id", "{" + REUSED + "}")),
]


def form(**changes: str | None) -> Callable[[Request], object]:
    def bend(request: Request) -> None:
        fields = dict(urllib.parse.parse_qsl(request.body.decode())) | changes
        request.body = urllib.parse.urlencode({key: value for key, value in fields.items() if value}).encode()

    return bend


TOKEN = [
    Deviation("1.1-method", method("GET"), 405),
    Deviation("1.1-form", header("Content-Type", "application/json")),
    Deviation("1.1-form", form(grant_type="password")),
    Deviation("1.1-form", form(scope=None)),
    Deviation("1.1-form", lambda request: setattr(request, "body", request.body + b"&client_id=x")),
    Deviation("1.1-fields", form(resource="https://api.manage.microsoft.com/")),
    Deviation("1.1-credential", form(client_secret=None)),
    Deviation("1.1-credential", form(client_assertion="a.b.c", client_assertion_type="x")),
    Deviation("1.1-scope", form(scope="https://api.manage.microsoft.com/")),
    Deviation("1.1-scope", form(scope=f"openid {INTUNE_SCOPE}")),
]
ASSERTION: list[tuple[str, dict[str, Any]]] = [
    ("1.1-assertion", {"alg": "RS512"}),
    ("1.1-assertion", {"x5t": None}),
    ("1.1-assertion", {"aud": "https://login.microsoftonline.com/common"}),
    ("1.1-assertion", {"sub": "someone else"}),
    ("1.1-lifetime", {"exp": 4_000_000_000}),
    ("1.1-lifetime", {"exp": 1}),
    ("1.1-lifetime", {"exp": None}),
    ("1.1-jti", {"jti": None}),
]
ELSEWHERE = {"1.1-expiry", "1.4-fail-closed", "1.3-own-failures"}
"""Facts with a test of their own below, for they are about more than one request."""


def facts_of(intune: IntuneSimulator) -> set[str]:
    return {text.split(": ")[1] for text in intune.violations}


async def expect(intune: IntuneSimulator, client: DocumentedClient, request: Request, deviation: Deviation) -> Reply:
    deviation.bend(request)
    reply = await client.send(request)
    assert reply.status == deviation.status
    assert facts_of(intune) == {deviation.fact}
    return reply


@pytest.mark.parametrize("deviation", VALIDATE, ids=str)
async def test_validate_request(intune: IntuneSimulator, client: DocumentedClient, csr: bytes, deviation) -> None:
    reply = await expect(intune, client, client.service_request("validateRequest", validation(csr)), deviation)
    assert reply.json["error"].keys() == {"code", "message"}


@pytest.mark.parametrize("deviation", SUCCESS, ids=str)
async def test_success_notification(intune: IntuneSimulator, client: DocumentedClient, csr: bytes, deviation) -> None:
    await client.call("validateRequest", validation(csr))
    await expect(intune, client, client.service_request("successNotification", success(csr)), deviation)
    assert intune.validation.notified == []


@pytest.mark.parametrize("deviation", FAILURE, ids=str)
async def test_failure_notification(intune: IntuneSimulator, client: DocumentedClient, csr: bytes, deviation) -> None:
    await client.call("validateRequest", validation(csr))
    await expect(intune, client, client.service_request("failureNotification", failure(csr)), deviation)


@pytest.mark.parametrize("deviation", DOWNLOAD, ids=str)
async def test_download(intune: IntuneSimulator, client: DocumentedClient, deviation) -> None:
    wanted = intune.request_revocation(client.tenant, "01", "CN=CA")
    await expect(intune, client, client.service_request("downloadRevocationRequests", download()), deviation)
    assert wanted.handed_out == 0


@pytest.mark.parametrize("deviation", UPLOAD, ids=str)
async def test_upload(intune: IntuneSimulator, client: DocumentedClient, deviation) -> None:
    done = intune.request_revocation(client.tenant, "01", "CN=CA")
    wanted = intune.request_revocation(client.tenant, "02", "CN=CA")
    await client.call("downloadRevocationRequests", download())
    await client.call("uploadRevocationResults", {"results": [result(done.context)]})
    upload = client.service_request("uploadRevocationResults", {"results": [result(wanted.context)]})
    await expect(intune, client, upload, deviation)
    assert wanted.pending


@pytest.mark.parametrize("deviation", DISCOVERY, ids=str)
async def test_discovery(intune: IntuneSimulator, client: DocumentedClient, deviation) -> None:
    await expect(intune, client, client.discovery_request(), deviation)


@pytest.mark.parametrize("deviation", TOKEN, ids=str)
async def test_token(intune: IntuneSimulator, client: DocumentedClient, deviation) -> None:
    await expect(intune, client, client.token_request(), deviation)


@pytest.mark.parametrize(("fact", "changes"), ASSERTION)
async def test_assertion(
    intune: IntuneSimulator, client: DocumentedClient, rsa_key: rsa.RSAPrivateKey, fact: str, changes: dict[str, Any]
) -> None:
    certificate = app_certificate(rsa_key)
    client.app.certificates.append(certificate)
    fields = assertion(rsa_key, certificate, client, **changes)
    assert (await client.send(client.token_request(**fields))).status == 401
    assert facts_of(intune) == {fact}


async def test_two_assertions_with_one_jti(
    intune: IntuneSimulator, client: DocumentedClient, rsa_key: rsa.RSAPrivateKey
) -> None:
    certificate = app_certificate(rsa_key)
    client.app.certificates.append(certificate)
    replies = [
        await client.send(client.token_request(**assertion(rsa_key, certificate, client, alg, jti=REUSED)))
        for alg in ("PS256", "RS256")
    ]
    assert [reply.status for reply in replies] == [200, 401]
    assert facts_of(intune) == {"1.1-jti"}


async def test_the_other_tokens_audience(intune: IntuneSimulator, client: DocumentedClient, csr: bytes) -> None:
    client.bearer = {"graph": client.bearer["intune"], "intune": client.bearer["graph"]}
    assert (await client.discover()).status == 401
    assert (await client.call("validateRequest", validation(csr))).status == 401
    assert facts_of(intune) == {"1.2-authorization", "1.3-authorization"}


async def test_a_request_id_used_twice(intune: IntuneSimulator, client: DocumentedClient, csr: bytes) -> None:
    request = client.service_request("validateRequest", validation(csr))
    assert (await client.send(request)).status == 200
    assert (await client.send(request)).status == 400
    assert facts_of(intune) == {"1.3-request-id"}


async def test_a_token_used_past_its_expiry(intune: IntuneSimulator, client: DocumentedClient, csr: bytes) -> None:
    client.app.token_seconds = 0
    await client.sign_in()
    assert (await client.call("validateRequest", validation(csr))).status == 401
    assert facts_of(intune) == {"1.1-expiry"}


@pytest.mark.parametrize(
    ("suffix", "notice", "fact"),
    [
        ("successNotification", success, "1.4-fail-closed"),
        ("failureNotification", failure, "1.3-own-failures"),
    ],
)
async def test_a_notice_after_a_refusal(
    intune: IntuneSimulator, client: DocumentedClient, device_key: ec.EllipticCurvePrivateKey, suffix, notice, fact
) -> None:
    refused = make_csr(None, device_key)
    assert (await client.call("validateRequest", validation(refused))).json["code"] == "ChallengePasswordMissing"
    assert (await client.call(suffix, notice(refused))).status == 400
    assert facts_of(intune) == {fact}


async def test_other_bytes_than_those_validated(
    intune: IntuneSimulator, client: DocumentedClient, csr: bytes, rsa_key: rsa.RSAPrivateKey
) -> None:
    await client.call("validateRequest", validation(csr))
    assert (await client.call("successNotification", success(make_csr(None, rsa_key)))).status == 400
    assert facts_of(intune) == {"1.3-order"}


async def test_a_context_of_another_tenant(intune: IntuneSimulator, client: DocumentedClient) -> None:
    other = intune.add_tenant("fabrikam.onmicrosoft.com")
    stranger = DocumentedClient(intune, client.session, other, intune.add_app(other, secret=SECRET))
    await stranger.sign_in()
    await stranger.discover()
    wanted = intune.request_revocation(client.tenant, "01", "CN=CA")
    await client.call("downloadRevocationRequests", download())
    await stranger.call("uploadRevocationResults", {"results": [result(wanted.context)]})
    assert facts_of(intune) == {"1.5-context"}
    assert wanted.pending


def test_every_fact_is_deviated_from() -> None:
    tables = (*VALIDATE, *SUCCESS, *FAILURE, *DOWNLOAD, *UPLOAD, *DISCOVERY, *TOKEN)
    tried = {deviation.fact for deviation in tables} | {fact for fact, _ in ASSERTION} | ELSEWHERE
    assert tried == FACTS.keys()
