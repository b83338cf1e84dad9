"""The common server of these tests: a P-256 hierarchy behind an RSA recipient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.linted import lint_everything
from tests.e2e.server import ScepServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScepServer]:
    """A running quickstart; tests may add integrations and certificates, nothing else. All of it is linted at last."""
    with ScepServer(tmp_path_factory.mktemp("e2e") / "data", "p256") as running:
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


@pytest.fixture(scope="module")
def nothing_issued(server: ScepServer) -> Iterator[str]:
    """A mark for common names; after the module's tests no certificate, in any state, may carry it."""
    mark = "negative"
    yield mark
    assert [row for row in server.certificates() if mark in row["subject"]] == []
