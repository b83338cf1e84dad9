"""The raw query and the POST body as devices send them (T2, T4, T5, R7, R10, R11)."""

from __future__ import annotations

import base64
import textwrap
from urllib.parse import quote

import pytest

from scep_server.codec.http_get import body_to_der, message_from_query, operation_from_query
from scep_server.errors import Malformed, TooLarge

# Its base64 has `+`, `/` and padding, so that every way to spoil them shows.
MESSAGE = b"\x30\x82" + bytes(range(256)) + b"\xfb\xef\xbe\xff\xff"
BASE64 = base64.b64encode(MESSAGE).decode()
ESCAPED = quote(BASE64, safe="")

SPELLINGS = {
    "as RFC 8894 says": ESCAPED,
    "unescaped + and /, as macOS": BASE64.replace("=", "%3D"),
    "nothing escaped": BASE64,
    "escaped twice": quote(ESCAPED, safe=""),
    "escaped three times": quote(quote(ESCAPED, safe=""), safe=""),
    "space for +": BASE64.replace("+", " "),
    "escaped space for +": BASE64.replace("+", "%20"),
    "lower-case escapes": BASE64.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d"),
    "%0A every 64": "%0A".join(textwrap.wrap(BASE64, 64)) + "%0A",
    "%0D%0A every 64": "%0D%0A".join(textwrap.wrap(BASE64, 64)),
    "no padding": BASE64.rstrip("="),
    "base64url": base64.urlsafe_b64encode(MESSAGE).decode(),
    "base64url without padding": base64.urlsafe_b64encode(MESSAGE).decode().rstrip("="),
}


def test_the_sample_has_everything_that_can_be_spoilt():
    assert {"+", "/", "="} <= set(BASE64)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_message_of_a_get(spelling):
    assert message_from_query(f"operation=PKIOperation&message={spelling}") == MESSAGE
    assert message_from_query(f"message={spelling}&ca=x&operation=PKIOperation".encode()) == MESSAGE


@pytest.mark.parametrize(
    "query",
    [
        "",
        "operation=PKIOperation",
        "operation=PKIOperation&message=",
        "message=default",
        "message=0",
        f"message={ESCAPED}&message={ESCAPED}",
        f"message={ESCAPED[:-7]}",
        f"message=!{ESCAPED}",
        f"message={BASE64[:40]}={BASE64[40:]}",
        "message=%FF%FE",
        "message=AAAA",
        f"message={quote(quote(quote(ESCAPED)))}",
        "message=MI%",
        "message=\u00e9",
    ],
)
def test_other_messages_are_malformed(query):
    with pytest.raises(Malformed):
        message_from_query(query)


def test_a_query_beyond_the_limit_is_too_large():
    with pytest.raises(TooLarge):
        message_from_query("message=" + "M" * 65536)
    with pytest.raises(TooLarge):
        operation_from_query("x" * 65537)


@pytest.mark.parametrize(
    ("query", "operation"),
    [
        ("operation=GetCACaps&message=default", "GetCACaps"),
        ("message=0&operation=GetCACert", "GetCACert"),
        ("operation=getcacaps", "GetCACaps"),
        ("OPERATION=PKIOPERATION&message=x", "PKIOperation"),
        ("operation=GetCACert&message=CAIdentifier&x=y", "GetCACert"),
        ("operation=GetNextCACert", "GetNextCACert"),
        ("operation=%47etCACaps", "GetCACaps"),
        ("operation=GetCACaps&message=" + "a" * 4096, "GetCACaps"),
        ("operation=GetCACaps&operation=getcacaps", "GetCACaps"),
        ("", ""),
        ("operation=", ""),
        ("operation", ""),
        ("message=operation=GetCACaps", ""),
    ],
)
def test_operation(query, operation):
    assert operation_from_query(query) == operation


@pytest.mark.parametrize(
    "query",
    [
        "operation=GetCACaps2",
        "operation=GetCACaps&operation=PKIOperation",
        "operation=%00",
        "operation=GetCACaps%20",
        "operation=%C3%A9",
        "operation=" + "A" * 5000,
    ],
)
def test_other_operations_are_malformed(query):
    with pytest.raises(Malformed) as malformed:
        operation_from_query(query)
    assert "AAAA" not in str(malformed.value)


def test_post_body_goes_as_it_is_or_base64_decoded():
    assert body_to_der(MESSAGE) is MESSAGE
    assert body_to_der(BASE64.encode()) == MESSAGE
    assert body_to_der(("\r\n".join(textwrap.wrap(BASE64, 64)) + "\r\n").encode()) == MESSAGE


@pytest.mark.parametrize("body", [b"", b"\x00", b"<html>", b"message=MIIB", base64.b64encode(b"hello"), b"\xff" * 100])
def test_other_bodies_are_malformed(body):
    with pytest.raises(Malformed):
        body_to_der(body)
