"""From Core to the SQL of one driver: what all statements of the ledger are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, ColumnElement, Table, bindparam, literal_column
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Dialect

Parameters = Mapping[str, Any]


class Statement(NamedTuple):
    """SQL text for one driver, and how it takes its parameters: by position, which costs SQLite half of by name."""

    text: str
    values: Callable[[Parameters], Sequence[Any]]


def compiled(statement: ClauseElement, dialect: Dialect) -> Statement:
    """The statement for one dialect."""
    result = statement.compile(dialect=dialect)
    names: Sequence[str] = result.positiontup or ()  # type: ignore[attr-defined]
    if len(names) > 1:
        return Statement(str(result), itemgetter(*names))
    return Statement(str(result), lambda parameters: [parameters[name] for name in names])


def constant(name: str) -> ColumnElement[Any]:
    """A constant in the SQL text itself."""
    return literal_column(f"'{name}'")


def values_of(table: Table, *names: str) -> dict[str, Any]:
    """A parameter for each of these columns, or for all, under the column's name."""
    return {name: bindparam(name) for name in names or tuple(column.name for column in table.c)}


def insert_for(dialect: Dialect) -> Callable[[Table], Any]:
    """INSERT with ON CONFLICT, which both dialects spell alike but Core keeps apart."""
    return postgresql_insert if dialect.name == "postgresql" else sqlite_insert
