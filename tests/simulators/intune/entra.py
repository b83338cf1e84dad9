"""Entra: the tenant's configuration and its token endpoint."""

from __future__ import annotations

import datetime as dt
import uuid

from tests.simulators.intune.checks import token as checks
from tests.simulators.intune.checks import violation
from tests.simulators.intune.codes import GRAPH_RESOURCE
from tests.simulators.intune.directory import App, Audience, Clock, Directory, Tenant
from tests.simulators.intune.exchange import Answer, Exchange, Operation

CERTIFICATE_WRONG = (
    401,
    "invalid_client",
    700027,
    "The certificate used to sign the client assertion is not registered",
)
SECRET_WRONG = (401, "invalid_client", 7000215, "Invalid client secret provided. Send the secret value, not its id.")
SECRET_EXPIRED = (401, "invalid_client", 7000222, "The provided client secret keys for app '{}' are expired.")
APP_UNKNOWN = (400, "unauthorized_client", 700016, "Application with identifier '{}' was not found in the directory.")
TENANT_UNKNOWN = (400, "invalid_request", 90002, "Tenant '{}' not found. Check the tenant ID or domain name.")
RESOURCE_UNKNOWN = (400, "invalid_resource", 500011, "The resource principal named {} was not found in the tenant.")
NOT_CONSENTED = (400, "invalid_grant", 65001, "The administrator has not consented to use the application '{}'.")
FORM_WRONG = (400, "invalid_request", 900144, "The request body is not as required: {}")


class Entra:
    """The authority of all tenants."""

    def __init__(self, directory: Directory, clock: Clock, base: str, graph_url: str) -> None:
        self._directory = directory
        self._clock = clock
        self._base = base
        self._graph = {GRAPH_RESOURCE, graph_url}
        self._assertions: dict[str, str] = {}

    def operations(self) -> list[tuple[str, Operation]]:
        """Paths below the authority."""
        return [
            (
                "{tenant}/v2.0/.well-known/openid-configuration",
                Operation("openid-configuration", self._admit_configuration, self._configuration),
            ),
            ("{tenant}/oauth2/v2.0/token", Operation("token", self._admit_token, self._token)),
        ]

    def _admit_configuration(self, exchange: Exchange) -> Answer | None:
        exchange.belongs_to(self._directory.tenant(exchange.where["tenant"]), None)
        if exchange.request.method != "GET":
            exchange.call.violations.append(violation("1.1-method", exchange.request.method))
            return Answer(405, {})
        return None

    def _configuration(self, exchange: Exchange) -> Answer:
        if exchange.tenant is None:
            return self._error((400, "invalid_tenant", *TENANT_UNKNOWN[2:]), exchange.where["tenant"])
        base = f"{self._base}{exchange.tenant.tenant_id}"  # Entra answers with the GUID, whatever it was asked by
        return Answer(
            200,
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_types_supported": ["code", "id_token"],
            },
        )

    def _admit_token(self, exchange: Exchange) -> Answer | None:
        tenant = self._directory.tenant(exchange.where["tenant"])
        if exchange.request.method != "POST":
            exchange.belongs_to(tenant, None)
            exchange.call.violations.append(violation("1.1-method", exchange.request.method))
            return Answer(405, {})
        exchange.fields, wrong = checks.form(exchange.request, exchange.raw)
        exchange.belongs_to(tenant, exchange.fields.get("client_id"))
        exchange.call.violations += wrong
        return self._error(FORM_WRONG, "; ".join(wrong)) if wrong else None

    def _token(self, exchange: Exchange) -> Answer:
        tenant, app, fields = exchange.tenant, exchange.app, exchange.fields
        if tenant is None:
            return self._error(TENANT_UNKNOWN, exchange.where["tenant"])
        if app is None:
            return self._error(APP_UNKNOWN, fields["client_id"])
        if refused := self._credential(exchange, tenant, app):
            return refused
        audience = self._audience(tenant, fields["scope"].removesuffix("/.default"))
        if audience is None:
            return self._error(RESOURCE_UNKNOWN, fields["scope"].removesuffix("/.default"))
        if not app.consented:
            return self._error(NOT_CONSENTED, app.client_id)
        token = self._directory.mint(tenant, app, audience, app.roles - {exchange.omitted()})
        lifetime = {"expires_in": app.token_seconds, "ext_expires_in": app.token_seconds}
        return Answer(200, {"token_type": "Bearer", **lifetime, "access_token": token.text})

    def _audience(self, tenant: Tenant, resource: str) -> Audience | None:
        if resource in self._graph:
            return "graph"
        single = tenant.intune_resource.rstrip("/")
        if resource == tenant.intune_resource or (tenant.accepts_single_slash and resource == single):
            return "intune"
        return None

    def _credential(self, exchange: Exchange, tenant: Tenant, app: App) -> Answer | None:
        if "client_assertion" in exchange.fields:
            return self._assertion(exchange, tenant, app)
        if app.secret is None or exchange.fields["client_secret"] != app.secret:
            return self._error(SECRET_WRONG)
        return self._error(SECRET_EXPIRED, app.client_id) if app.secret_expired else None

    def _assertion(self, exchange: Exchange, tenant: Tenant, app: App) -> Answer | None:
        text = exchange.fields["client_assertion"]
        urls = {f"{self._base}{name}/oauth2/v2.0/token" for name in (tenant.tenant_id, *tenant.domains)}
        try:
            assertion = checks.Assertion.parse(text)
        except ValueError:
            wrong = [violation("1.1-assertion", "not a JWT in compact form")]
        else:
            wrong = assertion.violations(app.client_id, urls)
            # The same assertion may come again while it lives: msal keeps one for both scopes.
            if self._assertions.setdefault(str(assertion.claims.get("jti")), text) != text:
                wrong.append(violation("1.1-jti", "another assertion had this jti"))
            if not wrong and assertion.signed_by(app.certificates):
                return None
        exchange.call.violations += wrong
        return self._error(CERTIFICATE_WRONG)

    def _error(self, error: tuple[int, str, int, str], *details: str) -> Answer:
        status, name, number, text = error
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        moment = dt.datetime.fromtimestamp(self._clock.now(), dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        described = f"AADSTS{number}: {text.format(*details)}"
        return Answer(
            status,
            {
                "error": name,
                "error_description": f"{described} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {moment}",
                "error_codes": [number],
                "timestamp": moment,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"{self._base}error?code={number}",
            },
        )
