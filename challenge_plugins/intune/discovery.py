"""Where the tenant's Intune services are: Graph's list of the endpoints of Intune's service principal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from challenge_plugins.intune.bearer import BearerRequests
from challenge_plugins.intune.faults import MissingService, ServiceFault
from challenge_plugins.intune.settings import IntuneSettings
from challenge_plugins.intune.single_flight import SingleFlight

VALIDATION: Final = "ScepRequestValidationFEService"
PKI_CONNECTOR: Final = "PkiConnectorFEService"
WHAT: Final = "Microsoft Graph (endpoints)"
MAX_ENDPOINTS: Final = 1000


class Discovery:
    """The endpoints of one tenant, remembered until a call to one of them failed."""

    def __init__(self, settings: IntuneSettings, requests: BearerRequests, discovered: Callable[[], None]) -> None:
        """discovered: called each time Graph gave the list."""
        self._requests = requests
        self._discovered = discovered
        self._scope = settings.graph_scope
        self._url = (
            f"{settings.graph_url}{settings.graph_version}/servicePrincipals/appId={settings.intune_app_id}/endpoints"
        )
        self._known: Mapping[str, str] = {}
        self._looks = SingleFlight[Mapping[str, str]]()

    async def uri(self, service: str) -> str:
        """Address of a service, without a trailing slash. MissingService; ServiceFault and the like from Graph."""
        known = self._known or await self._looks.run(self._url, self._look)
        found = known.get(service.lower())
        if found is None:
            self.clear()  # a role or a licence given meanwhile counts at once
            raise MissingService(service)
        return found

    def clear(self) -> None:
        """Ask Graph again next time: the tenant may have moved to another scale unit."""
        self._known = {}
        self._looks.forget()

    async def _look(self) -> Mapping[str, str]:
        found = endpoints(await self._requests.send("GET", self._url, self._scope, what=WHAT))
        self._discovered()
        if self._looks.is_current(self._url):
            self._known = found
        return found


def endpoints(answer: Mapping[str, Any]) -> dict[str, str]:
    """Lower-cased providerName, or serviceName where there is none, to address. ServiceFault for no list, or an
    address of a service of ours that is not https: a token goes there.
    """
    listed = answer.get("value")
    if not isinstance(listed, list) or len(listed) > MAX_ENDPOINTS:
        raise ServiceFault(f"{WHAT} answered no list", 200)
    found: dict[str, str] = {}
    for item in listed:
        if not isinstance(item, dict):
            continue
        name, uri = item.get("providername") or item.get("servicename"), item.get("uri")
        if (
            isinstance(name, str)
            and isinstance(uri, str)
            and name.lower() in {VALIDATION.lower(), PKI_CONNECTOR.lower()}
        ):
            found[name.lower()] = _https(name, uri)
    return found


def _https(name: str, uri: str) -> str:
    try:
        parts = urlsplit(uri)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.username is None and not parts.query
    except ValueError:
        good = False
    if not good or len(uri) > 2048:
        raise ServiceFault(f"{WHAT} gave no https address for {name}", 200)
    return uri.rstrip("/")
