"""The public listener.

Takes bytes from strangers over HTTP. Gives them SCEP, CA certificates, CRLs, what plugins serve, or one error table.
May touch sockets, TLS files, worker processes and the enrolment it is handed; no key, no database, no plugin.
"""

from __future__ import annotations

from scep_server.web.certificates import AuthorityEndpoint, Crls
from scep_server.web.client_address import ClientAddress
from scep_server.web.limits import Limits
from scep_server.web.listen import Listener, bind
from scep_server.web.plugin_routes import PluginRoutes, RouteFinder
from scep_server.web.scep import Enrollment, ScepEndpoint
from scep_server.web.site import PublicSite
from scep_server.web.tls import ServerCertificate
from scep_server.web.workers import RunningServer, run

__all__ = [
    "AuthorityEndpoint",
    "ClientAddress",
    "Crls",
    "Enrollment",
    "Limits",
    "Listener",
    "PluginRoutes",
    "PublicSite",
    "RouteFinder",
    "RunningServer",
    "ScepEndpoint",
    "ServerCertificate",
    "bind",
    "run",
]
