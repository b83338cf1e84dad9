"""What the road asks of its values many times a request is answered without running Python for it."""

from __future__ import annotations

import enum
import pickle
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from scep_server.errors import Reason
from scep_server.types import Cipher, Digest, KeyTransport, PkiStatus


def python_calls(act: Callable[[], object]) -> set[str]:
    """Names of the Python functions that act runs."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            called.add(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return called - {act.__code__.co_name}


@pytest.mark.parametrize("kind", [Cipher, Digest, KeyTransport, PkiStatus, Reason])
def test_members_are_found_in_tables_without_python(kind: type[enum.Enum]) -> None:
    table = {member: member.name for member in kind}
    member = next(iter(kind))
    assert python_calls(lambda: table[member]) == set()
    for member in kind:
        assert table[pickle.loads(pickle.dumps(member))] == member.name
