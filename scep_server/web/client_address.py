"""Who really sent a request and how it travelled, when front ends stand before us.

X-Forwarded-For and X-Forwarded-Proto are believed from trusted proxies only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientAddress:
    """Reads the address of the client behind the proxies an operator trusts.

    trusted: networks in CIDR form. Empty: the peer is the client, whatever its headers say.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(network) for network in trusted)
        self._read_peer = lru_cache(maxsize=1024)(self._judge)

    def resolve(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The nearest address that is not a trusted proxy's.

        Each proxy appends the peer it saw, so the list is believed from its right end, as long as those who wrote it
        are trusted. A part that is no address ends the walk: the last proxy that was understood stands for its client.
        """
        client, believed = self._read_peer(peer)
        if not believed or not forwarded_for:
            return client
        for part in reversed(",".join(forwarded_for).split(",")):
            address = _parse(part)
            if address is None:
                break
            client = str(address)
            if not self._is_trusted(address):
                break
        return client

    def is_confidential(self, peer: str, *, encrypted: bool, forwarded: bool, protocols: Sequence[str]) -> bool:
        """True when nobody on the way could read the request.

        encrypted: this connection is TLS. forwarded: a header says that somebody passed the request on. protocols:
        X-Forwarded-Proto as sent. A trusted proxy knows how the request reached it; where it says nothing, the operator
        who trusts it answers for that. A front end on this machine that is not trusted cannot tell, so what it passes
        on is not from this machine.
        """
        if self._read_peer(peer)[1]:
            named = ",".join(protocols)
            return not named or all(protocol.strip().lower() == "https" for protocol in named.split(","))
        if encrypted:
            return True
        address = _parse(peer)
        return address is not None and address.is_loopback and not forwarded

    def _judge(self, peer: str) -> tuple[str, bool]:
        address = _parse(peer)
        return ("", False) if address is None else (str(address), self._is_trusted(address))

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> Address | None:
    """192.0.2.1, 192.0.2.1:4711, 2001:db8::1, [2001:db8::1]:4711; an IPv4 address inside an IPv6 one is that one."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
