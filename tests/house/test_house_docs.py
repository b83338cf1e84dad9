"""The documents: links that lead somewhere, decisions in order, a changelog with room for the next change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.tree import ROOT, texts

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+\.(?:py|toml|yaml|conf|md|txt|service))`|`((?:tests|deploy|docs|conf)/[\w./-]*)`")
MADE_AT_RUN_TIME = {"scep-server.toml"}
DECISIONS = ROOT / "docs" / "decisions"
DECISION_SECTIONS = ["## Context", "## Options", "## Outcome"]


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings make."""
    headings = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(page: Path, text: str) -> list[str]:
    """Relative links of a page whose file or heading does not exist."""
    dead = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            dead.append(target)
    return dead


def test_links_resolve() -> None:
    dead = {str(page.relative_to(ROOT)): links for page, text in texts(".md") if (links := dead_links(page, text))}
    assert dead == {}


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One heading\n[here](#one-heading) [there](#other) [gone](gone.md) [far](https://example.org/)\n")
    assert dead_links(page, page.read_text()) == ["#other", "gone.md"]


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted(DECISIONS.glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


@pytest.mark.parametrize("page", sorted(DECISIONS.glob("*.md")), ids=lambda page: page.name)
def test_a_decision_tells_its_story(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert [section for section in DECISION_SECTIONS if f"\n{section}\n" not in text] == []


def test_every_document_can_be_found_from_the_readme() -> None:
    reached: set[Path] = set()
    queue = [ROOT / "README.md"]
    while queue:
        page = queue.pop().resolve()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        if page.suffix == ".md":
            targets = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
            queue += [
                page.parent / target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)
            ]
    lost = [str(page.relative_to(ROOT)) for page, _ in texts(".md") if page.is_relative_to(ROOT / "docs")]
    assert [name for name in lost if (ROOT / name).resolve() not in reached] == []


def test_changelog_has_an_unreleased_section() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def unknown_files(text: str) -> list[str]:
    """File names in running text that are not in the tree, seen from the top, from scep_server/ or from docs/."""
    names = {first or second for first, second in FILE.findall(FENCE.sub("", text))}
    return sorted(
        name
        for name in names - MADE_AT_RUN_TIME
        if not name.startswith("/") and not any((ROOT / place / name).exists() for place in ("", "scep_server", "docs"))
    )


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/operations.md", "docs/security.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_are_there(page: str) -> None:
    assert unknown_files((ROOT / page).read_text(encoding="utf-8")) == []


def test_a_file_that_is_gone_is_seen() -> None:
    assert unknown_files("`codec/ber.py` `codec/gone.py` `tests/house` `tests/gone`") == ["codec/gone.py", "tests/gone"]
