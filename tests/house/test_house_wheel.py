"""The wheel: both import packages, their data, the command and the plugin entry point, outside this tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from tests.house.tree import ROOT, files

PACKAGES = ("scep_server", "challenge_plugins")


def pip(*arguments: str) -> None:
    """Run pip without an index: a wheel of ours needs nothing that is not here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        check=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it, built from a copy of the tracked files."""
    scratch = tmp_path_factory.mktemp("wheel")
    source = scratch / "source"
    for path in files():
        relative = path.relative_to(ROOT)
        if relative.parts[0] in {*PACKAGES, "pyproject.toml", "README.md", "LICENSE"}:
            (source / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source / relative)
    pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(scratch), str(source))
    (wheel,) = scratch.glob("*.whl")
    target = scratch / "installed"
    pip("install", "--no-index", "--no-deps", "--target", str(target), str(wheel))
    return target


def distribution(installed: Path) -> Distribution:
    (metadata,) = installed.glob("scep_server-*.dist-info")
    return PathDistribution(metadata)


def test_every_tracked_file_of_both_packages_is_in_the_wheel(installed: Path) -> None:
    tracked = {path.relative_to(ROOT) for path in files() if path.relative_to(ROOT).parts[0] in PACKAGES}
    assert {str(path) for path in tracked if not (installed / path).is_file()} == set()
    assert {path.parts[0] for path in tracked} == set(PACKAGES)


def test_entry_points(installed: Path) -> None:
    points = {(point.group, point.name): point.value for point in distribution(installed).entry_points}
    assert points[("console_scripts", "scep-server")] == "scep_server.cli:main"
    assert points[("scep_server.challenge_plugins", "static")] == "challenge_plugins.static:PLUGIN"


def test_version_is_the_projects(installed: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert distribution(installed).version == project["version"]


def test_the_command_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "HOME": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, str(installed / "bin" / "scep-server"), "--help"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert "quickstart" in shown
    where = subprocess.run(
        [sys.executable, "-c", "import scep_server, challenge_plugins; print(scep_server.__file__)"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert Path(where.strip()).is_relative_to(installed)
