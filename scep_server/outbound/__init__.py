"""Takes: URLs, headers and bodies of plugins, the operator's proxy and extra trust.
Gives: HttpsClient (interfaces.Outbound): bounded, verified requests to other services.
May touch: the network, by HTTPS; the operating system's trust store.
"""

from scep_server.outbound.client import HttpsClient

__all__ = ["HttpsClient"]
