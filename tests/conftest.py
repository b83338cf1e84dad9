"""What every test may ask for. Other programs come from Debian packages; where CI=true a missing one fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/lib/certmonger:/usr/lib/postgresql/15/bin"


def cannot(message: str) -> NoReturn:
    """This machine cannot run the test: a skip for a user, a failure where CI=true promised that it can."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def find_program(name: str, package: str) -> Path:
    """Path of an installed program; skips with the package's name, or fails where CI=true promised it."""
    found = shutil.which(name, path=SEARCH)
    if found is None:
        cannot(f"{name} is not installed (Debian package {package})")
    return Path(found)


@pytest.fixture(scope="session")
def require_program() -> Callable[[str, str], Path]:
    """find_program as a fixture, for tests that want a program we did not write."""
    return find_program


@pytest.fixture
def root() -> None:
    """For tests that change users, mount or chroot."""
    if os.geteuid() != 0:
        cannot("only root can run this test")
