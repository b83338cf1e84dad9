"""The program's own help in README.md: written between markers, and held against the program in CI.

    python tests/house/readme_help.py --check     exit 1 and a diff when README.md shows an old help
    python tests/house/readme_help.py --write     bring README.md up to date

A block starts with a line `<!-- help: scep-server cert list -->` and ends with `<!-- /help -->`.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^<!-- help: (?P<command>scep-server[a-z -]*?) -->\n.*?^<!-- /help -->$", re.MULTILINE | re.DOTALL)


def program_help(command: str) -> str:
    """What `COMMAND --help` prints, on a terminal of fixed width and without colours or frames."""
    _, *arguments = command.split()
    environment = {
        name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "VIRTUAL_ENV"}
    } | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "TYPER_USE_RICH": "0"}
    completed = subprocess.run(
        [str(Path(sys.executable).with_name("scep-server")), *arguments, "--help"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return "\n".join(line.rstrip() for line in completed.stdout.strip("\n").splitlines())


def rendered(text: str) -> str:
    """README text with every block brought up to date."""

    def block(match: re.Match[str]) -> str:
        command = match["command"]
        return f"<!-- help: {command} -->\n```\n$ {command} --help\n{program_help(command)}\n```\n<!-- /help -->"

    return BLOCK.sub(block, text)


def main(arguments: list[str]) -> int:
    """Check or write; the exit code."""
    shown = README.read_text(encoding="utf-8")
    wanted = rendered(shown)
    if arguments == ["--write"]:
        README.write_text(wanted, encoding="utf-8")
        return 0
    if shown == wanted:
        return 0
    sys.stdout.writelines(difflib.unified_diff(shown.splitlines(True), wanted.splitlines(True), "README.md", "program"))
    print("\nREADME.md shows an old help; run `make readme`.")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
