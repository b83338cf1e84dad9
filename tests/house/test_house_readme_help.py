"""README.md shows the help that the program prints today."""

from __future__ import annotations

import re

from tests.house import readme_help
from tests.house.tree import ROOT


def test_readme_shows_the_programs_own_help() -> None:
    shown = readme_help.README.read_text(encoding="utf-8")
    assert readme_help.BLOCK.search(shown)
    assert readme_help.rendered(shown) == shown


def test_readme_says_how_to_type_the_commands_after_make_run() -> None:
    (data,) = re.findall(r"^DATA \?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    before = readme_help.README.read_text(encoding="utf-8").partition("## Commands\n")[0]
    told = before[before.index("`make run` again") :]
    assert all(text in told for text in ("`. .venv/bin/activate`", f"`--data {data}`", "`SCEP_SERVER_DATA`"))


def test_an_old_help_is_seen() -> None:
    old = "<!-- help: scep-server -->\n```\nold\n```\n<!-- /help -->"
    assert readme_help.rendered(old) != old
