"""What every test may ask for. Other programs come from Debian packages; where CI=true a missing one fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/lib/certmonger:/usr/lib/postgresql/15/bin"


def find_program(name: str, package: str) -> Path:
    """Path of an installed program; skips with the package's name, or fails where CI=true promised it."""
    found = shutil.which(name, path=SEARCH)
    if found is None:
        message = f"{name} is not installed (Debian package {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return Path(found)


@pytest.fixture(scope="session")
def require_program() -> Callable[[str, str], Path]:
    """find_program as a fixture, for tests that want a program we did not write."""
    return find_program
