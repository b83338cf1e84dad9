"""Why Microsoft's side could not tell us. All are Faults to the device (503); the fields are for the diagnosis."""

from __future__ import annotations

from scep_server.errors import PluginFault


class EntraFault(PluginFault):
    """Entra ID gave no token.

    code: like `AADSTS7000215`; empty when it named none. The description is left out: it is Entra's to word, and a
    proxy in between could have put anything there.
    """

    def __init__(self, detail: str, code: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(f"{detail} ({code})" if code else detail, retry_after=retry_after)
        self.code = code


class BrokenInstallation(PluginFault):
    """msal does not load: a module is missing, or another one stands in its place, where this server is installed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"msal, which asks Entra ID for tokens, cannot be loaded: {_lacking(cause)}")


class ServiceFault(PluginFault):
    """Graph or Intune answered with something other than HTTP 200 and a JSON object.

    status: of HTTP; 200 when it was the body that made no sense.
    """

    def __init__(self, detail: str, status: int, *, retry_after: int | None = None) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.status = status


class MissingService(PluginFault):
    """Graph's list of endpoints lacks a service: the app has no Intune role, or the tenant no licence."""

    def __init__(self, service: str) -> None:
        super().__init__(f"the tenant's list of Intune endpoints has no {service}")
        self.service = service


def _lacking(cause: Exception) -> str:
    name = cause.name if isinstance(cause, ImportError) else None
    if name is None:
        return type(cause).__name__
    if isinstance(cause, ModuleNotFoundError):
        return f"there is no Python module {name}"
    return f"the Python module {name} is not the one it needs"
