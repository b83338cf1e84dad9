"""What is pinned, what is installed, what the Makefile installs and what CI runs: four lists that must agree."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import tomllib

from tests.house.tree import ROOT, texts

PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+")


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Name to version, of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normalised(name): version for name, version in pairs}


def test_constraints_are_names_and_versions_only() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_every_direct_dependency_is_pinned() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    wanted = [*pyproject["build-system"]["requires"], *project["dependencies"]]
    wanted += [line for group in project["optional-dependencies"].values() for line in group]
    names = {normalised(match.group()) for line in wanted if (match := re.match(r"[A-Za-z0-9._-]+", line))}
    assert names - pins().keys() == set()


def test_these_tests_run_on_what_is_pinned() -> None:
    installed = {normalised(dist.metadata["Name"]): dist.version for dist in importlib.metadata.distributions()}
    expected = pins()
    assert {name: version for name, version in installed.items() if expected.get(name, version) != version} == {}


def wanted_packages(source: str) -> set[str]:
    """Debian packages that a test module asks for: require_program("pki", "strongswan-pki")."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {
        call.args[1].value
        for call in calls
        if isinstance(call.func, ast.Name | ast.Attribute)
        and (call.func.id if isinstance(call.func, ast.Name) else call.func.attr) in {"require_program", "find_program"}
        and len(call.args) == 2
        and isinstance(call.args[1], ast.Constant)
        and isinstance(call.args[1].value, str)
    }


def test_the_makefile_installs_every_package_that_tests_ask_for() -> None:
    make = shutil.which("make")
    assert make
    environment = {"PATH": os.environ["PATH"]}
    listed = subprocess.run(
        [make, "--silent", "debian-packages"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout.split()
    modules = [text for path, text in texts(".py") if path.is_relative_to(ROOT / "tests")]
    wanted = set().union(*(wanted_packages(source) for source in modules))
    assert wanted - set(listed) == set()
    assert wanted_packages('find_program("a", "b"); require_program("c", package)') == {"b"}


def test_ci_runs_the_tests_and_then_the_checks() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    commands = [line for line in script.splitlines() if line and not line.startswith(("#", "cd "))]
    assert commands == ["set -euo pipefail", "make test", "make check"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
