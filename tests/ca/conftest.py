"""One hierarchy of each kind for all tests of the CA: making keys and opening them takes longer than the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scep_server.ca import CaSet, create_hierarchy, load_ca
from tests.ca.ca_orders import PASSPHRASE, PUBLIC_URL, clock


@pytest.fixture(scope="session")
def hierarchy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A CA directory of this key type and identity, made once."""
    made: dict[tuple[str, str, int], Path] = {}

    def directory(key_type: str = "rsa2048", scep_identity: str = "ra", crl_shards: int = 1) -> Path:
        kind = (key_type, scep_identity, crl_shards)
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("data") / "ca"
            create_hierarchy(
                made[kind],
                PASSPHRASE,
                key_type=key_type,
                scep_identity=scep_identity,
                crl_shards=crl_shards,
                clock=clock,
            )
        return made[kind]

    return directory


@pytest.fixture(scope="session")
def loaded(hierarchy: Callable[..., Path]) -> Callable[..., CaSet]:
    """The same, opened; do not change it."""
    made: dict[tuple[object, ...], CaSet] = {}

    def ca(*kind: object) -> CaSet:
        if kind not in made:
            made[kind] = load_ca(hierarchy(*kind), PASSPHRASE, PUBLIC_URL, clock=clock)
        return made[kind]

    return ca
