"""What commands print: JSON lines for programs, tables and panels for people, and a spinner when it takes long.

Results go to standard output, everything else to standard error, so that a pipe carries results only.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

_TABLE_ROWS: Final = 500
"""Rows measured at a time: a table of a million certificates is printed in blocks, not held in memory."""

_PIPE_WIDTH: Final = 1000
"""Columns; longer records are folded there too."""


class Format(enum.StrEnum):
    """--format of the list commands."""

    TABLE = "table"
    JSONL = "jsonl"


def rfc3339(moment: datetime | None) -> str | None:
    """2026-01-31T08:00:00Z, in UTC with whole seconds; None stays None."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def json_line(record: Mapping[str, object]) -> None:
    """One object on a line of its own, flushed: a waiting script sees it at once."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def rows(records: Iterable[Mapping[str, object]], columns: Sequence[str], form: Format) -> None:
    """Records as JSON lines (all their fields) or as a table of the named columns; streamed either way."""
    if form is Format.JSONL:
        for record in records:
            sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    from rich.table import Table  # noqa: PLC0415 - see options.settings_of
    from rich.text import Text  # noqa: PLC0415

    console = _console()
    source = iter(records)
    while block := list(islice(source, _TABLE_ROWS)):
        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for record in block:
            table.add_row(*(Text(_cell(record.get(column)), overflow="fold") for column in columns))
        console.print(table)


def fields(record: Mapping[str, object]) -> None:
    """One record for a person: a name and a value a line."""
    width = max(map(len, record), default=0)
    for name, value in record.items():
        print(f"{name:<{width}}  {_cell(value)}")


def panel(title: str, record: Mapping[str, str], after: str = "") -> None:
    """A framed summary on standard output."""
    from rich.panel import Panel  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid = Table.grid(padding=(0, 2))
    for name, value in record.items():
        grid.add_row(Text(name, style="bold"), Text(value, overflow="fold"))
    console = _console()
    console.print(Panel(grid, title=title, title_align="left", expand=False))
    if after:
        console.print(Text(after), soft_wrap=True)  # a command in it stays one line to copy
    sys.stdout.flush()


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner on standard error while something takes long; silent where that is no terminal."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def _console() -> Console:
    """Standard output. A pipe has no width: every record is one line there, as grep and cut want it."""
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, frozenset | list | tuple):
        return ", ".join(sorted(str(part) for part in value))
    return printable(str(value))


def printable(text: str) -> str:
    """Control characters escaped: terminals obey them."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
