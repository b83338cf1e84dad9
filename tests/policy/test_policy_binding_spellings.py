"""Spellings of one name that a binding must take for that name, and for no other."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scep_server.codec.names import build_general_names, general_name, rfc4514
from scep_server.errors import Refusal
from scep_server.policy.bindings import check_binding, name_der
from scep_server.types import IssueOrder, NameBinding

NOW = datetime.now(UTC)


def address_order(address: str) -> IssueOrder:
    return IssueOrder(name_der(""), b"", build_general_names([general_name("ip", address)]), NOW, NOW)


@pytest.mark.parametrize("written", ["2001:db8::1", "2001:0db8:0:0::1", "2001:DB8::1"])
def test_an_address_is_itself_however_it_is_written(written: str) -> None:
    check_binding(address_order("2001:db8::1"), NameBinding(sans=(f"ip:{written}",)))


def test_another_address_is_refused() -> None:
    with pytest.raises(Refusal):
        check_binding(address_order("2001:db8::2"), NameBinding(sans=("ip:2001:0db8:0:0::1",)))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"CN=foo\ ,O=bar", r"CN=foo\ ,O=bar"),
        (r"CN=foo\  , O=bar", r"CN=foo\ ,O=bar"),
        (r"CN=foo\\ ,O=bar", r"CN=foo\\,O=bar"),
        (r"O=bar, CN=foo\ ", r"O=bar,CN=foo\ "),
        (r"CN=foo\,O=bar", r"CN=foo\,O=bar"),
    ],
    ids=["space", "space and another", "backslash", "last", "comma"],
)
def test_an_escaped_end_of_a_value_does_not_swallow_the_next(written: str, read: str) -> None:
    assert rfc4514(name_der(written)) == read
