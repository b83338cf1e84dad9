"""As much of JSON Schema as docs/webhook-openapi.json uses. An unknown keyword is an error: nothing goes unchecked.

A field that is not documented is a fault here even where the schema would let it pass: receivers have to take fields
that are added, and we do not send any that the document does not have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.house.tree import ROOT

DOCUMENT = json.loads((ROOT / "docs" / "webhook-openapi.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "null": type(None)}
SILENT = {"description", "contentEncoding"}


def faults(schema: dict[str, Any], value: object, where: str = "$") -> list[str]:
    """What is wrong with a value; empty when it conforms."""
    return list(_faults(schema, value, where))


def _faults(schema: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    for keyword, wanted in schema.items():
        if keyword == "$ref":
            yield from _faults(SCHEMAS[wanted.rpartition("/")[2]], value, where)
        elif keyword == "items" and isinstance(value, list):
            for number, item in enumerate(value):
                yield from _faults(wanted, item, f"{where}[{number}]")
        elif keyword == "properties" and isinstance(value, dict):
            yield from (f"{where}: {name} is not documented" for name in value.keys() - wanted.keys())
            for name in wanted.keys() & value.keys():
                yield from _faults(wanted[name], value[name], f"{where}.{name}")
        elif keyword not in SILENT | {"items", "properties"} and not _holds(keyword, wanted, schema, value):
            yield f"{where}: {keyword} {wanted}"


def _holds(keyword: str, wanted: Any, schema: dict[str, Any], value: Any) -> bool:
    if keyword in {"type", "const", "enum"}:
        return _RULES[keyword](wanted, value)
    if keyword == "additionalProperties":
        return not isinstance(value, dict) or set(value) <= set(schema["properties"])
    kind, rule = _RULES_OF[keyword]
    return not isinstance(value, kind) or rule(wanted, value)


def _is(kind: str, value: object) -> bool:
    return isinstance(value, TYPES[kind]) and not (kind == "integer" and isinstance(value, bool))


_RULES: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda wanted, value: any(_is(kind, value) for kind in ([wanted] if isinstance(wanted, str) else wanted)),
    "const": lambda wanted, value: type(value) is type(wanted) and value == wanted,
    "enum": lambda wanted, value: value in wanted,
}
_RULES_OF: dict[str, tuple[type, Callable[[Any, Any], bool]]] = {
    "pattern": (str, lambda wanted, value: re.search(wanted, value) is not None),
    "minLength": (str, lambda wanted, value: len(value) >= wanted),
    "maxLength": (str, lambda wanted, value: len(value) <= wanted),
    "maxItems": (list, lambda wanted, value: len(value) <= wanted),
    "minimum": (int, lambda wanted, value: value >= wanted),
    "required": (dict, lambda wanted, value: set(wanted) <= set(value)),
    "minProperties": (dict, lambda wanted, value: len(value) >= wanted),
}
