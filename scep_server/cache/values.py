"""How a challenge lies in Redis: JSON behind its HMAC.

Whoever can write to Redis is not thereby allowed to enrol. The HMAC is under the key file and covers the integration
and the challenge's own MAC beside the JSON, so a value cannot be made, changed, or moved to another challenge.
"""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from typing import Final

from scep_server.errors import Fault
from scep_server.interfaces import KeyFile
from scep_server.types import NameBinding, OpenChallenge

TAG_BYTES: Final = 32
CONTEXT: Final = "redis challenge"
MEMBERS: Final = {"minted_at", "expires_at", "uses", "subject", "sans", "device_ids", "sealed", "lookups"}


def pack(challenge: OpenChallenge, keys: KeyFile) -> bytes:
    """HMAC and JSON."""
    content = {
        "minted_at": challenge.minted_at.isoformat(),
        "expires_at": challenge.expires_at.isoformat(),
        "uses": challenge.uses,
        "subject": challenge.binding.subject,
        "sans": challenge.binding.sans,
        "device_ids": challenge.binding.device_ids,
        "sealed": challenge.sealed,
        "lookups": [lookup.hex() for lookup in challenge.lookups],
    }
    body = json.dumps(content, separators=(",", ":")).encode()
    return _tag(challenge.integration, challenge.mac, body, keys) + body


def unpack(value: bytes, integration: str, mac: bytes, keys: KeyFile) -> OpenChallenge | None:
    """The challenge of this integration and MAC; None when the value is not one that pack() made for it. Fault for one
    that tells more than this program knows: what it is bound to is not let through.
    """
    tag, body = value[:TAG_BYTES], value[TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(integration, mac, body, keys)):
        return None
    content = json.loads(body)
    if unknown := content.keys() - MEMBERS:
        raise Fault(f"a challenge in Redis tells what this program does not know: {', '.join(sorted(unknown))}")
    sans = content["sans"]
    return OpenChallenge(
        integration=integration,
        mac=mac,
        minted_at=datetime.fromisoformat(content["minted_at"]),
        expires_at=datetime.fromisoformat(content["expires_at"]),
        uses=content["uses"],
        binding=NameBinding(
            subject=content["subject"],
            sans=None if sans is None else tuple(sans),
            device_ids=tuple(content["device_ids"]),
        ),
        sealed=content["sealed"],
        lookups=tuple(bytes.fromhex(lookup) for lookup in content["lookups"]),
    )


def _tag(integration: str, mac: bytes, body: bytes, keys: KeyFile) -> bytes:
    name = integration.encode()
    # Lengths first, or the end of one part could be read as the start of the next.
    return keys.mac(b"%d,%d," % (len(name), len(mac)) + name + mac + body, CONTEXT)
