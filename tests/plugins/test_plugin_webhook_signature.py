"""Signatures of the webhook: one vector for whoever writes a receiver, and everything that must not verify."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from challenge_plugins.webhook.signature import sign, verifies_answer
from tests.house.tree import ROOT
from tests.plugins.webhook_receiver import sign_answer

SECRET, OLDER, STRANGER = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210", b"x" * 32
ID, BODY = "3f1c9d0e-6c1f-4b57-9d3e-0a4f0a6b8a11", b'{"version":1,"type":"scep.ping"}'
NOW = 1767225600


def test_the_vector_in_the_document() -> None:
    page = (ROOT / "docs" / "webhook.md").read_text(encoding="utf-8")
    signed = sign([SECRET], NOW, ID, BODY)
    answered = sign_answer([SECRET], NOW, ID, b'{"request_id":"' + ID.encode() + b'","decision":"pong"}')
    for text in (SECRET.decode(), str(NOW), ID, BODY.decode(), signed, answered):
        assert text in page


def test_each_valid_secret_signs_and_the_newest_comes_first() -> None:
    time, first, second = sign([SECRET, OLDER], NOW, ID, BODY).split(",")
    assert time == f"t={NOW}"
    content = f"{NOW}.{ID}.".encode() + BODY
    for secret, value in ((SECRET, first), (OLDER, second)):
        assert value == f"v1={hmac.new(secret, content, hashlib.sha256).hexdigest()}"


@pytest.mark.parametrize("secrets", [[SECRET], [OLDER], [STRANGER, OLDER]])
def test_an_answer_under_either_secret_verifies(secrets: list[bytes]) -> None:
    assert verifies_answer([SECRET, OLDER], sign_answer(secrets, NOW, ID, BODY), ID, BODY)


@pytest.mark.parametrize(
    "header",
    [
        "",
        sign_answer([STRANGER], NOW, ID, BODY),
        sign_answer([SECRET], NOW, "another id", BODY),
        sign_answer([SECRET], NOW, ID, BODY + b" "),
        sign_answer([SECRET], NOW, ID, BODY).replace(str(NOW), str(NOW + 1)),
        sign_answer([SECRET], NOW, ID, BODY).upper(),
        sign_answer([SECRET], NOW, ID, BODY).partition(",")[2],
        sign_answer([SECRET], NOW, ID, BODY)[:-1],
        sign_answer([SECRET], NOW, ID, BODY) + f",t={NOW}",
        sign_answer([SECRET] * 5, NOW, ID, BODY),
        f"t={NOW}",
        "t=٣,v1=" + "0" * 64,
        f"t={NOW},v1=",
    ],
)
def test_what_does_not_verify(header: str) -> None:
    assert not verifies_answer([SECRET, OLDER], header, ID, BODY)


def test_our_own_words_sent_back_are_no_answer() -> None:
    """Whoever ends our TLS cannot turn a question into its answer."""
    assert not verifies_answer([SECRET], sign([SECRET], NOW, ID, BODY), ID, BODY)
