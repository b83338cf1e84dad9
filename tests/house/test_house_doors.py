"""N1, N2: there is one door to a signature, and every way to it is counted here.

A new caller of what signs, or a new place that makes what a signature is given for, turns this red: whoever adds one
has to say here why it is no second door.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PRODUCT = [Path("scep_server"), Path("challenge_plugins")]

DOORS = {
    # An Intent is the right to sign one recorded tbsCertificate: only a committed row makes one.
    "Intent": {"scep_server/ledger/issuances.py"},
    # An Authorization is a plugin's yes or a verified renewal: COMMIT 1 is not written without.
    "Authorization": {"scep_server/enrollment/authorization.py"},
    # The only caller of the CA's signature over a device's certificate.
    ".issue": {"scep_server/enrollment/issuing.py"},
    # What the CA may be asked to prepare: the road, a serial drawn again, an operator's approval.
    ".prepare": {
        "scep_server/enrollment/reading.py",
        "scep_server/enrollment/issuing.py",
        "scep_server/enrollment/approval.py",
    },
    # CRLs are signed by their publisher.
    ".sign_crl": {"scep_server/status/crl.py"},
    # The issuing key itself never leaves its room.
    "SoftwareSigner": {"scep_server/ca/load.py"},
}


def calls(path: Path) -> Iterator[str]:
    """Names called in a file: `Name` for a function or class, `.name` for a method."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield f".{node.func.attr}"


def callers(name: str, folders: list[Path]) -> set[str]:
    """Files that call it."""
    files = (path for folder in folders for path in folder.rglob("*.py"))
    return {path.as_posix() for path in files if name in set(calls(path))}


@pytest.mark.parametrize("name", DOORS)
def test_every_door_to_a_signature_is_known(name: str) -> None:
    assert callers(name, PRODUCT) == DOORS[name]


def test_a_second_door_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "shortcut.py").write_text("def sign(ca, tbs):\n    return ca.issue(Intent(0, '', 1, tbs))\n")
    assert callers(".issue", [tmp_path]) == callers("Intent", [tmp_path]) == {(tmp_path / "shortcut.py").as_posix()}
