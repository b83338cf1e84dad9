"""A simulator with one tenant and a signed-in client that keeps to the documents, anew for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.simulators.documented import SECRET, DocumentedClient, make_csr
from tests.simulators.intune import IntuneSimulator


@pytest.fixture(scope="session")
def device_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
async def intune() -> AsyncIterator[IntuneSimulator]:
    async with IntuneSimulator() as simulator:
        yield simulator


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as made:
        yield made


@pytest.fixture
async def client(intune: IntuneSimulator, session: aiohttp.ClientSession) -> DocumentedClient:
    tenant = intune.add_tenant("contoso.onmicrosoft.com")
    made = DocumentedClient(intune, session, tenant, intune.add_app(tenant, secret=SECRET))
    await made.sign_in()
    await made.discover()
    return made


@pytest.fixture
def csr(intune: IntuneSimulator, client: DocumentedClient, device_key: ec.EllipticCurvePrivateKey) -> bytes:
    """A CSR with a challenge the service accepts."""
    return make_csr(intune.new_challenge(client.tenant, subject="CN=device-1").text, device_key)
