"""Houses for plugins under test, as fixtures; scep_server.testing builds them for everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from scep_server.testing import HouseUnderTest, open_house


@pytest.fixture
async def make_house(tmp_path: Path) -> AsyncIterator[Callable[..., HouseUnderTest]]:
    """Makes houses; `make_house(ca_file=PATH)` trusts that PEM for outgoing HTTPS beside the system's own."""
    opened: list[HouseUnderTest] = []

    def make(ca_file: Path | None = None, proxy: str | None = None) -> HouseUnderTest:
        folder = tmp_path / f"house{len(opened)}"
        folder.mkdir()
        made = open_house(folder, ca_file=ca_file, proxy=proxy)
        opened.append(made)
        return made

    yield make
    for one in opened:
        await one.close()


@pytest.fixture
async def house(make_house: Callable[..., HouseUnderTest]) -> HouseUnderTest:
    """One such house."""
    return make_house()
