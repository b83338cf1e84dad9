"""Who counts as one source, wherever strangers are counted: by the limits, and by the trail of their refusals."""

from __future__ import annotations

import ipaddress


def neighbourhood(source: str) -> bytes:
    """The same bytes for all addresses that one client commands: an IPv6 client has its whole /64.

    An address that cannot be read stands for itself.
    """
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source.encode(errors="backslashreplace")
    if address.version == 4:
        return address.packed
    return address.ipv4_mapped.packed if address.ipv4_mapped else address.packed[:8]
