"""The addresses of a quickstart, settled before they are written down: certificates carry them for a year."""

from __future__ import annotations

import socket

from scep_server.cli.failures import USAGE, CommandFailed, warn


def settled_listener(listen: str, option: str) -> str:
    """HOST:PORT, with port 0 replaced by a free one. Raises CommandFailed."""
    from scep_server.config import Address  # noqa: PLC0415 - see options.settings_of

    try:
        address = Address.parse(listen)
    except ValueError as error:
        raise CommandFailed(f"{option}: {error}", USAGE) from None
    if address.port:
        return str(address)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address.host, 0))
        return str(Address(address.host, probe.getsockname()[1]))


def public_url_for(listen: str) -> str | None:
    """What devices could be told when the listener is on every address: this machine's name. None: say nothing."""
    from scep_server.config import Address  # noqa: PLC0415

    address = Address.parse(listen)
    if not address.wildcard:
        return None
    url = f"http://{Address(socket.getfqdn(), address.port)}"
    warn(f"devices are told {url}, made from this machine's name; give --public-url if they reach it otherwise")
    return url
