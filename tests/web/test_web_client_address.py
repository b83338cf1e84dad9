"""X-Forwarded-For is believed from trusted proxies only, from its right end, and never breaks anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scep_server.web import ClientAddress

PROXIES = ClientAddress(["10.0.0.0/8", "2001:db8:f::/48"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.1", "192.0.2.1, 10.9.9.9"], "192.0.2.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.1:4711"], "192.0.2.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("2001:db8:f::1", ["2001:DB8:0::1"], "2001:db8::1"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("192.0.2.9", ["192.0.2.1"], "192.0.2.9"),
        ("10.0.0.1", ["${jndi:ldap://x}"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, _hidden, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [", ,"], "10.0.0.1"),
        ("", ["192.0.2.1"], ""),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy(peer: str, forwarded: list[str], client: str) -> None:
    assert PROXIES.resolve(peer, forwarded) == client


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert ClientAddress().resolve("10.0.0.1", ["192.0.2.1"]) == "10.0.0.1"


@given(st.lists(st.text(max_size=50), max_size=5))
def test_any_header_gives_an_address(forwarded: list[str]) -> None:
    client = PROXIES.resolve("10.0.0.1", forwarded)
    assert ClientAddress().resolve(client, []) == client != ""


@pytest.mark.parametrize(
    ("peer", "encrypted", "forwarded", "protocols", "confidential"),
    [
        ("192.0.2.9", False, False, [], False),
        ("192.0.2.9", False, True, ["https"], False),
        ("192.0.2.9", True, False, [], True),
        ("192.0.2.9", True, True, ["http"], True),
        ("127.0.0.1", False, False, [], True),
        ("::1", False, False, [], True),
        ("::ffff:127.0.0.1", False, False, [], True),
        ("127.0.0.1", False, True, ["https"], False),
        ("10.0.0.1", False, True, [], True),
        ("10.0.0.1", False, True, ["https"], True),
        ("10.0.0.1", False, True, ["http"], False),
        ("10.0.0.1", True, True, ["http"], False),
        ("10.0.0.1", False, True, ["https", "http"], False),
        ("10.0.0.1", False, True, ["https,"], False),
        ("", False, False, [], False),
    ],
)
def test_what_nobody_on_the_way_could_read(
    peer: str, encrypted: bool, forwarded: bool, protocols: list[str], confidential: bool
) -> None:
    assert PROXIES.is_confidential(peer, encrypted=encrypted, forwarded=forwarded, protocols=protocols) is confidential
