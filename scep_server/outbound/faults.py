"""What went wrong on the way, in words that name host and cause and nothing that was sent.

The texts of foreign exceptions are not repeated: some quote URLs and headers, which carry credentials.
"""

from __future__ import annotations

import os
import ssl

import aiohttp

from scep_server.errors import OutboundFault
from scep_server.outbound.proxy import Proxy


def fault_of(error: BaseException, host: str, proxy: Proxy | None) -> OutboundFault:
    """The fault to raise for an exception of the HTTP library or of the operating system."""
    return _of_proxy(error, host, proxy) or _of_tls(error, host) or _of_connection(error, host)


def _of_proxy(error: BaseException, host: str, proxy: Proxy | None) -> OutboundFault | None:
    if proxy is None:
        return None
    match error:
        case aiohttp.ClientHttpProxyError():
            return OutboundFault("proxy", f"proxy {proxy} did not connect to {host}: HTTP {error.status}{_hint(error)}")
        case aiohttp.ClientProxyConnectionError():
            return OutboundFault("proxy", f"proxy {proxy} cannot be reached: {_cause(error.os_error)}")
        case aiohttp.ClientConnectorDNSError():
            return OutboundFault("proxy", f"the name of proxy {proxy} does not resolve")
    return None


def _of_tls(error: BaseException, host: str) -> OutboundFault | None:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return OutboundFault("tls", f"{host} is not trusted: {_certificate_cause(error.certificate_error)}")
        case aiohttp.ClientConnectorSSLError():
            return OutboundFault("tls", f"no TLS with {host}: {_reason(error.os_error)}")
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionResetError):
            # A connection that is not made yet cannot be reset: it was, and TLS was being agreed.
            return OutboundFault("tls", f"no TLS with {host}: it ended the connection during the handshake")
        case ssl.SSLError():
            return OutboundFault("tls", f"TLS with {host} ended: {_reason(error)}")
    return None


def _of_connection(error: BaseException, host: str) -> OutboundFault:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return OutboundFault("name", f"the name {host} does not resolve")
        case aiohttp.ClientConnectorError():
            kind = "refused" if isinstance(error.os_error, ConnectionRefusedError) else "other"
            return OutboundFault(kind, f"cannot connect to {_with_port(host, error)}: {_cause(error.os_error)}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | ConnectionError():
            return OutboundFault("cut", f"{host} ended the connection before its answer was complete")
        case aiohttp.ClientOSError():
            return OutboundFault("cut", f"the connection to {host} broke: {_cause(error)}")
        case aiohttp.ClientResponseError():
            return OutboundFault("other", f"{host} answered with what is no HTTP")
    return OutboundFault("other", f"the request to {host} could not be made: {type(error).__name__}")


def _with_port(host: str, error: aiohttp.ClientConnectorError) -> str:
    """HOST:PORT, as a wrong port is the likelier mistake."""
    return f"[{host}]:{error.port}" if ":" in host else f"{host}:{error.port}"


def _reason(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else None) or "the handshake failed"


def _hint(error: aiohttp.ClientHttpProxyError) -> str:
    if error.status == 407:
        return "; it wants a user and a password (outbound.proxy, outbound.proxy_password_file)"
    return ""


def _cause(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__


def _certificate_cause(error: BaseException) -> str:
    """OpenSSL's and Python's own words: expired, unknown issuer, another name."""
    return getattr(error, "verify_message", "") or type(error).__name__
