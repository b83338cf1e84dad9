"""Load for a server that is about to die: many clients, and an exact account of who got an answer."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

from tests.bench.generator import http_request, read_response
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.replies import read_reply


@dataclass(frozen=True)
class Wish:
    """One enrolment that a device wants, with the very bytes it repeats until it is answered."""

    device: Device
    transaction_id: str
    message: bytes = field(repr=False)

    def serial(self, body: bytes) -> int:
        """Serial of the certificate in this reply; BadReply or AssertionError when it is no good SUCCESS."""
        reply = read_reply(body)
        assert (reply.status, reply.text) == ("SUCCESS", None)
        assert reply.transaction_id == self.transaction_id
        return reply.certificate(self.device).serial_number


def wish(device: Device, recipient: bytes, challenge: str) -> Wish:
    """A new transaction of this device."""
    transaction_id = secrets.token_hex(16)
    return Wish(device, transaction_id, pkcs_req(device, recipient, challenge, transaction_id=transaction_id))


@dataclass
class Account:
    """What became of the wishes of one storm."""

    answered: list[tuple[Wish, bytes]] = field(default_factory=list)
    unanswered: list[Wish] = field(default_factory=list)
    """Sent at least in part, never completely answered."""
    unsent: list[Wish] = field(default_factory=list)
    refused: list[tuple[Wish, int]] = field(default_factory=list)
    """Answered with another HTTP status than 200."""


async def one_client(host: str, port: int, path: str, wishes: list[Wish], account: Account) -> None:
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return
    while wishes:
        mine = wishes.pop()
        try:
            writer.write(http_request(host, port, path, mine.message))
            status, body = await read_response(reader)
        except (OSError, EOFError):
            account.unanswered.append(mine)
            break
        if status == 200:
            account.answered.append((mine, body))
        else:
            account.refused.append((mine, status))
    writer.close()


async def storm(host: str, port: int, path: str, wishes: list[Wish], clients: int = 8) -> Account:
    """Send all wishes, or as many as the server lives to see."""
    account, left = Account(), list(wishes)
    await asyncio.gather(*(one_client(host, port, path, left, account) for _ in range(clients)))
    account.unsent = left
    return account
