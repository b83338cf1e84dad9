"""R39: what a client may be told is a fixed list of short, plain texts, and an error's detail is not on it."""

from __future__ import annotations

import pytest

from scep_server.codec import build_failure, finish_reply
from scep_server.errors import Reason, Refusal
from scep_server.types import Digest, ReplyTo
from tests.e2e.identities import Device, rsa_key, sign
from tests.e2e.replies import read_reply

RA = Device.named("ra", rsa_key(0))
REPLY_TO = ReplyTo("t-1", b"n" * 16, Digest.SHA256)


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_tells_its_reasons_text_and_nothing_of_its_detail(reason: Reason) -> None:
    refusal = Refusal(reason, "SELECT secret FROM /etc/passwd where CN=victim")
    unsigned = build_failure(REPLY_TO, refusal.fail_info, refusal.reason.text)
    reply = finish_reply(unsigned, RA.certificate, sign(RA.key, unsigned.to_sign))
    read = read_reply(reply)
    assert (read.status, read.fail_info, read.text) == ("FAILURE", int(reason.fail_info), reason.text)
    assert 0 < len(reason.text) <= 200
    assert reason.text.isascii()
    assert reason.text.isprintable()
    for part in (b"SELECT", b"passwd", b"victim"):
        assert part not in reply


def test_no_two_reasons_share_a_code() -> None:
    assert len({reason.code for reason in Reason}) == len(Reason)
