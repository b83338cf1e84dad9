"""The common server of these tests: an RSA hierarchy, so that everything a device may meet is RSA."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.server import ScepServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    """A running quickstart; tests may add integrations and certificates, nothing else."""
    with ScepServer(tmp_path_factory.mktemp("e2e") / "data", "rsa2048") as running:
        yield running
