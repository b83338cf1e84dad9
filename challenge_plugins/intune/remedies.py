"""What mends what Entra ID, Graph and Intune complain about: the page of the admin center and the setting there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from challenge_plugins.intune.faults import BrokenInstallation, EntraFault, MissingService, ServiceFault
from scep_server.errors import OutboundFault

_APP: Final = "Entra admin center, App registrations, your app"
_SECRETS: Final = f"{_APP}, Certificates & secrets"
_PERMISSIONS: Final = f"{_APP}, API permissions"
_ROTATE: Final = "then `scep-server integration rotate-secret NAME --secret-file FILE`"

ENTRA: Final[Mapping[str, str]] = {
    "AADSTS7000215": f"the client secret is wrong. {_SECRETS}: make one and copy its Value, not its Secret ID; "
    f"{_ROTATE}",
    "AADSTS7000222": f"the client secret has expired. {_SECRETS}: make a new one; {_ROTATE}",
    "AADSTS700016": f"this tenant has no such app. {_APP}, Overview: compare Application (client) ID and Directory "
    "(tenant) ID with the settings client_id and tenant",
    "AADSTS7000229": f"the app has no service principal in this tenant. {_PERMISSIONS}: Grant admin consent",
    "AADSTS7000112": "the app is disabled. Entra admin center, Enterprise applications, your app, Properties: "
    "Enabled for users to sign-in",
    "AADSTS90002": "there is no such tenant in this cloud. Entra admin center, Overview: compare Tenant ID and Primary "
    "domain with the setting tenant; for a national cloud set authority",
    "AADSTS900023": "the setting tenant is neither a tenant id nor a domain. Entra admin center, Overview",
    "AADSTS500011": "the tenant does not know this resource. Intune admin center, Tenant administration: is Intune set "
    "up? Then the setting intune_scope_base: with a slash at its end, or without, and of the right cloud",
    "AADSTS65001": f"nobody consented to the app's permissions. {_PERMISSIONS}: Grant admin consent",
    "AADSTS700027": f"Entra does not know the certificate. {_SECRETS}, Certificates: upload the certificate (without "
    "its key) that client_certificate has",
    "AADSTS53003": "a Conditional Access policy blocks the app. Entra admin center, Conditional Access, Policies: "
    "exclude the app (workload identities), or allow this server's address",
}
_WAY: Final = "check the network and the firewall on the way there, or set the proxy in section [outbound]"
OUTBOUND: Final[Mapping[str, str]] = {
    "name": "the host name does not resolve here: check DNS, or set the proxy in section [outbound]",
    "refused": "nothing answers there: check the firewall, or set the proxy in section [outbound]",
    "tls": "its certificate is not trusted here: where a proxy inspects TLS, name its CA with ca_file in [outbound]",
    "timeout": "no answer in time: check the firewall, or set the proxy in section [outbound]",
    "proxy": "the proxy refused: check the proxy in section [outbound]",
    "cut": f"something ends the connection: {_WAY}",
    "other": f"there is no way to it from here: {_WAY}",
}
GRAPH_PERMISSION: Final = (
    f"the app may not read Graph. {_PERMISSIONS}: Microsoft Graph, Application permissions, Application.Read.All, "
    "then Grant admin consent"
)
INTUNE_PERMISSION: Final = (
    f"the app may not validate SCEP requests. {_PERMISSIONS}: Intune, Application permissions, scep_challenge_provider "
    "(SCEP challenge validation), then Grant admin consent"
)
NO_SERVICE: Final = (
    "Graph lists it only where the tenant has an Intune licence and the app an Intune permission. Microsoft 365 admin "
    f"center, Billing, Licenses; {_PERMISSIONS}: Intune, scep_challenge_provider, then Grant admin consent"
)
NO_INTUNE: Final = (
    "Graph does not know Intune in this tenant: check the licence in the Microsoft 365 admin center, Billing, "
    "Licenses, and the settings intune_app_id, graph_url and graph_version"
)
REINSTALL: Final = (
    "this server's installation is broken, not the connection: install it anew with its dependencies, as in "
    "docs/operations.md (`pip check` in its environment names what is missing), and restart the server"
)
LATER: Final = "nothing here mends it; see status.cloud.microsoft and try again later"


def remedy(fault: Exception, *, forbidden: str, unknown: str = LATER) -> str:
    """What to do about a fault. forbidden, unknown: what a 401 or 403, and a 400 or 404, of this step mean."""
    if isinstance(fault, EntraFault):
        return ENTRA.get(fault.code) or (
            f"look the code up at https://login.microsoftonline.com/error?code={fault.code.removeprefix('AADSTS')}"
            if fault.code
            else LATER
        )
    if isinstance(fault, BrokenInstallation):
        return REINSTALL
    if isinstance(fault, OutboundFault):
        return OUTBOUND.get(fault.kind, LATER)
    if isinstance(fault, MissingService):
        return NO_SERVICE
    if isinstance(fault, ServiceFault) and fault.status in {401, 403}:
        return forbidden
    if isinstance(fault, ServiceFault) and fault.status in {400, 404}:
        return unknown
    return LATER
