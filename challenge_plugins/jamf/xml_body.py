"""An XML body from a stranger as a tree of texts: no document type, no entities of its own, bounded in every way."""

from __future__ import annotations

from typing import Any, Final
from xml.parsers import expat

MAX_BYTES: Final = 65536
MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 1000


def read_xml(body: bytes) -> tuple[str, dict[str, Any]]:
    """Name and members of the root element. An element is its text, or its members by name; the first of a name counts.

    ValueError that says what is wrong and repeats nothing of the body.
    """
    if len(body) > MAX_BYTES:
        raise ValueError(f"the body has more than {MAX_BYTES} bytes")
    tree = _Tree()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = tree.doctype
    parser.EntityDeclHandler = tree.doctype
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.text
    try:
        parser.Parse(body, True)
    except expat.ExpatError:
        raise ValueError("the body is no well-formed XML") from None
    except _NotAcceptedError:
        raise
    except (LookupError, ValueError):
        # From the codec that the XML declaration names: many of Python's are for something else.
        raise ValueError("the body is XML in an unknown encoding") from None
    return tree.root


class _NotAcceptedError(ValueError):
    """XML, but of a form that no event has."""


class _Tree:
    """What the parser tells, put together."""

    def __init__(self) -> None:
        self._open: list[tuple[str, dict[str, Any], list[str]]] = []
        self._elements = 0
        self.root: tuple[str, dict[str, Any]] = ("", {})

    def doctype(self, *_: object) -> None:
        """Entities could make a small body large, or read files."""
        raise _NotAcceptedError("the body has a document type declaration, which is not accepted")

    def start(self, name: str, _: dict[str, str]) -> None:
        """One element deeper."""
        self._elements += 1
        if len(self._open) >= MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise _NotAcceptedError("the body has too many elements")
        self._open.append((name, {}, []))

    def text(self, data: str) -> None:
        """Part of the innermost element's text."""
        self._open[-1][2].append(data)

    def end(self, _: str) -> None:
        """The innermost element is complete."""
        name, members, texts = self._open.pop()
        if self._open:
            self._open[-1][1].setdefault(name, members or "".join(texts).strip())
        else:
            self.root = (name, members)
