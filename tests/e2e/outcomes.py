"""What may come of a request: an HTTP status without a CertRep, or a CertRep; written as tests like to read it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e import wire
from tests.e2e.replies import Reply, read_reply

BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_TIME, BAD_CERT_ID = (f"FAILURE {n}" for n in range(5))
SUCCESS, PENDING = "SUCCESS", "PENDING"
NOT_SCEP = "HTTP 400"


@dataclass(frozen=True)
class Outcome:
    """The short form, and the reply when there was one."""

    short: str
    reply: Reply | None

    @property
    def certrep(self) -> Reply:
        assert self.reply is not None, self.short
        return self.reply


def outcome_of(answer: wire.Answer) -> Outcome:
    """`SUCCESS`, `PENDING`, `FAILURE n` for a verified CertRep, `HTTP nnn` for anything else."""
    if answer.status != 200:
        return Outcome(f"HTTP {answer.status}", None)
    assert answer.headers["content-type"] == wire.MESSAGE_TYPE
    reply = read_reply(answer.body)
    return Outcome(reply.status if reply.fail_info is None else f"{reply.status} {reply.fail_info}", reply)


def send(url: str, body: bytes) -> Outcome:
    """POST it and say what came of it."""
    return outcome_of(wire.post(url, body))
