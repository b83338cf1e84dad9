"""Keys once a session; a peer for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.client.scep_peer import Hierarchy, Peer


@pytest.fixture(scope="session")
def rsa_keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """RA, device, stranger."""
    one, two, three = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3))
    return one, two, three


@pytest.fixture
def peer(rsa_keys: tuple[rsa.RSAPrivateKey, ...]) -> Peer:
    return Peer(Hierarchy.make(rsa_keys[0]))


@pytest.fixture
async def url(peer: Peer) -> AsyncIterator[str]:
    async with TestServer(peer.application()) as server:
        yield str(server.make_url("/scep"))
