"""The shape of the repository: what may lie at the top, and how long a source file may grow."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.house.tree import ROOT, files

TOP_LEVEL = {
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml"),
    *("challenge_plugins", "conf", "deploy", "docs", "scep_server", "tests"),
}
LONGEST_SOURCE = 500
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager"}


def strangers(names: set[str]) -> set[str]:
    """Top-level names that have no place there. Files and folders with a leading dot are tools' settings."""
    return {name for name in names if name not in TOP_LEVEL and not name.startswith(".")}


def test_nothing_unexpected_at_the_top() -> None:
    assert strangers({path.relative_to(ROOT).parts[0] for path in files()}) == set()


def test_a_stranger_at_the_top_is_seen() -> None:
    assert strangers({"README.md", ".gitignore", "notes.txt"}) == {"notes.txt"}


def test_everything_expected_is_there() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in files()} >= TOP_LEVEL


def test_source_files_hold_one_idea() -> None:
    sources = [path for path in files() if path.suffix == ".py" and "tests" not in path.relative_to(ROOT).parts]
    too_long = {path.name: count for path in sources if (count := len(path.read_text().splitlines())) > LONGEST_SOURCE}
    badly_named = {path.name for path in sources if path.stem in FORBIDDEN_NAMES}
    assert (too_long, badly_named) == ({}, set())


def test_every_package_says_what_it_takes_and_gives() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in files()
        if path.name == "__init__.py" and path.parent.parent.name == "scep_server" and '"""' not in path.read_text()
    ]
    assert silent == []


def test_no_folder_of_tests_offers_its_modules_by_bare_names() -> None:
    """A helper called requests.py would stand before the library of that name, in the program under test too."""
    entries = [Path(entry).resolve() for entry in sys.path]
    assert [entry for entry in entries if entry.is_relative_to(ROOT / "tests")] == []
