"""README.md shows the help that the program prints today."""

from __future__ import annotations

from tests.house import readme_help


def test_readme_shows_the_programs_own_help() -> None:
    shown = readme_help.README.read_text(encoding="utf-8")
    assert readme_help.BLOCK.search(shown)
    assert readme_help.rendered(shown) == shown


def test_an_old_help_is_seen() -> None:
    old = "<!-- help: scep-server -->\n```\nold\n```\n<!-- /help -->"
    assert readme_help.rendered(old) != old
