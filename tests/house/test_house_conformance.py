"""docs/conformance.md: every test it names exists, and no line of what must never work is forgotten."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "conformance.md"
TEST_ID = re.compile(r"`([^`\s]+\.py)::(\w+)`")
ROW = re.compile(r"^\| (?P<lines>[RTNKF]\d+(?:, [RTNKF]\d+)*) \|.*\|$", re.MULTILINE)
NOT_HERE_YET = "## Not here yet"
NEVER = [f"N{number}" for number in range(1, 25)]


def defined_in(path: Path) -> set[str]:
    """Names of the test functions of a file, those of classes included; none where there is no such file."""
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def unknown_tests(text: str) -> list[str]:
    """Tests that a text names and that do not exist."""
    named = sorted(set(TEST_ID.findall(text)))
    known = {path: defined_in(ROOT / path) for path, _ in named}
    return [f"{path}::{test}" for path, test in named if test not in known[path]]


def lines_of(text: str) -> list[str]:
    """Requirement lines that have a row in a text, in its order."""
    return [line for row in ROW.finditer(text) for line in row["lines"].split(", ")]


def rows_without_a_test(text: str) -> list[str]:
    """The lines whose row names no test."""
    return [row["lines"] for row in ROW.finditer(text) if not TEST_ID.search(row[0])]


@pytest.fixture(scope="module")
def shown() -> str:
    return PAGE.read_text(encoding="utf-8").partition(NOT_HERE_YET)[0]


@pytest.fixture(scope="module")
def missing() -> str:
    return PAGE.read_text(encoding="utf-8").partition(NOT_HERE_YET)[2]


def test_conformance_names_tests_that_exist(shown: str) -> None:
    assert unknown_tests(shown) == []
    assert rows_without_a_test(shown) == []


def test_conformance_has_each_line_once(shown: str) -> None:
    lines = lines_of(shown)
    assert sorted({line for line in lines if lines.count(line) > 1}) == []


def test_conformance_forgets_no_line_of_what_must_never_work(shown: str, missing: str) -> None:
    told = {*lines_of(shown), *lines_of(missing)}
    assert [line for line in NEVER if line not in told] == []


def test_conformance_check_sees_its_faults() -> None:
    here = f"tests/house/{Path(__file__).name}"
    good = f"| N1 | one | `{here}::test_conformance_check_sees_its_faults` |\n"
    gone = f"| N2, N3 | two | `{here}::test_gone`<br>`tests/gone.py::test_gone` |\n"
    assert unknown_tests(good + gone) == ["tests/gone.py::test_gone", f"{here}::test_gone"]
    assert rows_without_a_test(good + "| N4 | nothing |  |\n") == ["N4"]
    assert lines_of(good + gone) == ["N1", "N2", "N3"]
