"""Commands of a page, typed as they stand: by a shell that ends at the first one that fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def type_in(commands: str, folder: Path, seconds: int = 240, **environment: str) -> str:
    """What the commands printed, both streams in one. Of this process's environment they see the PATH only."""
    done = subprocess.run(
        ["bash", "-c", "set -eu\n" + commands],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout
