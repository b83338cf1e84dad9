"""The files of this repository, as the house tests see them: what git tracks, plus what it would track if added."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files() -> list[Path]:
    """Absolute paths of all files that are not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = (ROOT / name for name in listing.split("\0") if name)
    return sorted(path for path in paths if path.is_file())


def texts(suffix: str = "") -> Iterator[tuple[Path, str]]:
    """(path, content) of every file that is UTF-8 text and whose name ends in suffix."""
    for path in files():
        if not path.name.endswith(suffix):
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
