"""Root is told when it works in the folder of the user that serves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli import program

pytestmark = pytest.mark.usefixtures("root")

SERVICE = 65534
INIT = ("init", "--public-url", "http://ca.test", "--key-type", "p256", "--data")


def test_root_is_warned_in_the_folder_of_another_user(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = program.call(*INIT, data)
    checked = program.call("check", "--data", data)
    assert (made.returncode, checked.returncode) == (0, 0)
    assert "you are root" not in made.stderr + checked.stderr

    for path in (data, *data.rglob("*")):
        os.chown(path, SERVICE, SERVICE)
    checked = program.call("check", "--data", data)
    assert checked.returncode == 0
    assert checked.stderr.startswith("warning: you are root, and ")
    assert "belongs to user nobody" in checked.stderr
    assert {path.stat().st_uid for path in data.rglob("*")} == {SERVICE}


def test_root_is_warned_before_init_makes_keys_for_another_user(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVICE, SERVICE)
    assert "warning: you are root, and " in program.call(*INIT, tmp_path).stderr
