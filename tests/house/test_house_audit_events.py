"""The page of audit events names every kind that the program can record, and no other."""

from __future__ import annotations

import ast
import re

from tests.house.tree import ROOT, texts

KIND = re.compile(r"(?:request|certificate|crl|challenge|integration|notice)\.[a-z_]+")
NO_KIND = {"request.json"}
PAGE = ROOT / "docs" / "audit-events.md"


def kinds_in(source: str) -> set[str]:
    """Texts of the form of a kind that stand in a module by themselves."""
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str) and KIND.fullmatch(value)}


def kinds_listed(page: str) -> list[str]:
    """Kinds in the first column of the table."""
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    return [kind for row in rows for kind in re.findall(r"`([^`]*)`", row)]


def test_every_kind_of_event_is_explained_once() -> None:
    packages = (ROOT / "scep_server", ROOT / "challenge_plugins")
    recorded = {
        kind
        for path, text in texts(".py")
        if any(path.is_relative_to(package) for package in packages)
        for kind in kinds_in(text)
    }
    assert sorted(kinds_listed(PAGE.read_text(encoding="utf-8"))) == sorted(recorded - NO_KIND)


def test_a_kind_is_seen_wherever_it_stands() -> None:
    source = 'Event("notice.lost", at)\nkind = "crl.signed" if late else "request.lost"\n"a request.refused in prose"'
    assert kinds_in(source) == {"notice.lost", "crl.signed", "request.lost"}
    assert kinds_listed("| kind |\n| `a.b`, `a.c` | `d` |") == ["a.b", "a.c"]
