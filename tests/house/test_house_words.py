"""Words that must not stand in the tree. Each is put together here, so that this file does not hold it either."""

from __future__ import annotations

import re

import pytest

from tests.house.tree import ROOT, texts

DOT = "."
REGISTRY_HOSTS = [
    DOT.join(parts)
    for parts in (
        *(
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("debian", "org"),
            ("docker", "io"),
            ("ghcr", "io"),
            ("quay", "io"),
        ),
        *(("crates", "io"), ("npmjs", "org"), ("golang", "org"), ("maven", "org")),
    )
]
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "XX" + "X:"]
MACHINE_PATHS = ["/wo" + "rk/", "../sha" + "red", "/root/" + "."]

RULES = {
    "registry host": re.compile("|".join(re.escape(host) for host in REGISTRY_HOSTS), re.IGNORECASE),
    "unfinished work": re.compile(r"\b(?:" + "|".join(UNFINISHED) + ")"),
    "path of one machine": re.compile("|".join(re.escape(path) for path in [*MACHINE_PATHS, str(ROOT) + "/"])),
}


def findings(rule: re.Pattern[str], name: str, text: str) -> list[str]:
    """file:line of each hit."""
    return [f"{name}:{number}" for number, line in enumerate(text.splitlines(), 1) if rule.search(line)]


@pytest.mark.parametrize("kind", RULES)
def test_tree_is_free_of(kind: str) -> None:
    rule = RULES[kind]
    hits = [hit for path, text in texts() for hit in findings(rule, str(path.relative_to(ROOT)), text)]
    assert hits == [], kind


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("registry host", "https://" + REGISTRY_HOSTS[0] + "/simple"),
        ("unfinished work", "# " + UNFINISHED[0] + ": later"),
        ("path of one machine", "see " + str(ROOT) + "/README.md"),
    ],
)
def test_each_rule_sees_its_fault(kind: str, line: str) -> None:
    assert findings(RULES[kind], "x", "fine\n" + line) == ["x:2"]
