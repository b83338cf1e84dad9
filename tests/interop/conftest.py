"""The common server of the interoperability tests: RSA throughout.

strongSwan's `pki` reads EC certificates only with its openssl plugin, which is in a package of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.linted import lint_everything
from tests.e2e.server import ScepServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    """A running quickstart; tests may add integrations and certificates, nothing else. All of it is linted at last."""
    with ScepServer(tmp_path_factory.mktemp("interop") / "data", "rsa2048") as running:
        yield running
        lint_everything(running)


@pytest.fixture(scope="session")
def renewing(server: ScepServer) -> tuple[str, str]:
    """URL and challenge of an integration that renews; its certificates are short enough to be in the window."""
    return server.add_integration("renewing", renewal="on", lifetime_days="30")


@pytest.fixture(scope="session")
def manual(server: ScepServer) -> tuple[str, str]:
    """URL and challenge of an integration where a person approves."""
    return server.add_integration("manual", approval="manual")
