"""Requests in the documented shape, written out by hand, and a device that makes CSRs: what the tests then bend."""

from __future__ import annotations

import base64
import copy
import datetime as dt
import json
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID

from tests.simulators.intune import App, IntuneSimulator, Tenant

GRAPH_SCOPE = "https://graph.microsoft.com/.default"
INTUNE_SCOPE = "https://api.manage.microsoft.com//.default"
ENDPOINTS = "/v1.0/servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints"
PKI_SUFFIXES = ("downloadRevocationRequests", "uploadRevocationResults")
SECRET = "s3cret~value"


@dataclass
class Request:
    """One request before it is sent; tests change its parts."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    """bytes as they stand, a dict as JSON."""

    def content(self) -> bytes | None:
        return self.body if self.body is None or isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class DocumentedClient:
    """A client of one tenant and application, spelling out what the facts say."""

    simulator: IntuneSimulator
    session: aiohttp.ClientSession
    tenant: Tenant
    app: App
    bearer: dict[str, str] = field(default_factory=dict)
    uris: dict[str, str] = field(default_factory=dict)

    async def send(self, request: Request) -> Reply:
        async with self.session.request(
            request.method,
            request.url,
            data=request.content(),
            headers=request.headers,
            ssl=self.simulator.client_context(),
            allow_redirects=False,
            skip_auto_headers=("Content-Type",),
        ) as response:
            return Reply(response.status, dict(response.headers), await response.read())

    def token_url(self, name: str | None = None) -> str:
        return f"{self.simulator.urls.authority}{name or self.tenant.tenant_id}/oauth2/v2.0/token"

    def token_request(self, scope: str = INTUNE_SCOPE, **fields: str) -> Request:
        form = {"grant_type": "client_credentials", "client_id": self.app.client_id, "scope": scope}
        credential = {} if "client_assertion" in fields else {"client_secret": SECRET}
        body = urllib.parse.urlencode(form | credential | fields).encode()
        return Request("POST", self.token_url(), {"Content-Type": "application/x-www-form-urlencoded"}, body)

    async def sign_in(self) -> None:
        """Both tokens."""
        for audience, scope in (("graph", GRAPH_SCOPE), ("intune", INTUNE_SCOPE)):
            self.bearer[audience] = (await self.send(self.token_request(scope))).json["access_token"]

    def discovery_request(self) -> Request:
        headers = {"Authorization": f"Bearer {self.bearer['graph']}", "client-request-id": str(uuid.uuid4())}
        return Request("GET", self.simulator.urls.graph + ENDPOINTS, headers)

    async def discover(self) -> Reply:
        reply = await self.send(self.discovery_request())
        if reply.status == 200:
            self.uris = {
                entry.get("providerName", entry.get("serviceName", "")).lower(): entry["uri"]
                for entry in reply.json["value"]
            }
        return reply

    def service_request(self, suffix: str, body: Any) -> Request:
        pki = suffix in PKI_SUFFIXES
        uri = self.uris["pkiconnectorfeservice" if pki else "sceprequestvalidationfeservice"]
        folder = "CertificateAuthorityRequests" if pki else "ScepActions"
        headers = {
            "Authorization": f"Bearer {self.bearer['intune']}",
            "Content-Type": "application/json",
            "client-request-id": str(uuid.uuid4()),
            "api-version": "5019-05-05" if pki else "2018-02-20",
        }
        return Request("POST", f"{uri}/{folder}/{suffix}", headers, copy.deepcopy(body))

    async def call(self, suffix: str, body: Any) -> Reply:
        return await self.send(self.service_request(suffix, body))


def validation(der: bytes, transaction: str = "TX-1") -> dict[str, Any]:
    csr = base64.b64encode(der).decode()
    return {"request": {"transactionId": transaction, "certificateRequest": csr, "callerInfo": "tests/1"}}


def success(der: bytes, transaction: str = "TX-1") -> dict[str, Any]:
    return {
        "notification": validation(der, transaction)["request"]
        | {
            "certificateThumbprint": "0123456789ABCDEF0123456789ABCDEF01234567",
            "certificateSerialNumber": "0A1B",
            "certificateExpirationDateUtc": "2031-06-11T16:11:20.000Z",
            "issuingCertificateAuthority": "CN=Issuing CA",
            "caConfiguration": "laptops",
            "certificateAuthority": None,
        }
    }


def failure(der: bytes, transaction: str = "TX-1") -> dict[str, Any]:
    inner = validation(der, transaction)["request"]
    return {"notification": inner | {"hResult": 0x8000FFFF, "errorDescription": "no certificate was issued"}}


def download(issuer_name: str | None = None, maximum: int = 100) -> dict[str, Any]:
    return {"downloadParameters": {"maxRequests": maximum, "issuerName": issuer_name}}


def result(context: str, error: str = "None", message: str | None = None) -> dict[str, Any]:
    fine = error in {"None", "0"}
    return {"requestContext": context, "succeeded": fine, "errorCode": error, "errorMessage": message}


def make_csr(
    challenge: str | None,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    subject: str | None = "device-1",
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> bytes:
    """The CSR a device would send, as DER."""
    names = [] if subject is None else [x509.NameAttribute(NameOID.COMMON_NAME, subject)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def app_certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    """What an operator registers with the application."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector")]), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(0xA1B).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256())


def assertion(
    key: rsa.RSAPrivateKey, certificate: x509.Certificate, client: DocumentedClient, alg: str = "PS256", **changes: Any
) -> dict[str, str]:
    """The fields of a token request that carry a signed assertion; None drops a claim or header field."""
    thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
    header = {"alg": alg, "typ": "JWT", "x5t#S256": changes.pop("x5t", thumbprint)}
    claims = {
        "aud": client.token_url(),
        "iss": client.app.client_id,
        "sub": client.app.client_id,
        "jti": str(uuid.uuid4()),
        "exp": int(time.time()) + 600,
    } | changes
    parts = [{key: value for key, value in part.items() if value is not None} for part in (header, claims)]
    signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    scheme: Any = padding.PKCS1v15()
    if alg == "PS256":
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    signature = base64.urlsafe_b64encode(key.sign(signed, scheme, hashes.SHA256())).rstrip(b"=")
    return {
        "client_assertion": (signed + b"." + signature).decode(),
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
