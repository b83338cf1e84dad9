"""One server for all command tests: made by quickstart, once."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli import program


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[program.Quickstart]:
    data = tmp_path_factory.mktemp("quickstart") / "data"
    arguments = ("--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--key-type", "p256")
    with program.serving("quickstart", *arguments, "--json") as (line, _):
        yield program.Quickstart(data, json.loads(line))
