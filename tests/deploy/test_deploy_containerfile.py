"""The Containerfile's own steps, in clean roots. About a minute and a half, so on demand outside of CI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy import containerfile_steps


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="takes minutes; `make container-check` runs it")
@pytest.mark.usefixtures("root")
def test_the_steps_give_an_image_that_serves(require_program: Callable[[str, str], Path]) -> None:
    require_program("debootstrap", "debootstrap")
    done = subprocess.run(
        [sys.executable, containerfile_steps.__file__],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "is healthy, ends on SIGTERM" in done.stdout
