"""A challenge that was minted for one enrolment: the live plugin, whatever asks for its challenges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from challenge_plugins.dynamic.credentials import Credentials
from challenge_plugins.dynamic.minting import SHAPE, ChallengeKeys, Mint
from challenge_plugins.dynamic.settings import MintRules
from scep_server.errors import CacheUnavailable, Fault, Reason, Refusal
from scep_server.interfaces import Host
from scep_server.types import (
    Attempt,
    Certificate,
    Finding,
    Grant,
    Minted,
    MintOrder,
    PasswordHint,
    SpentChallenge,
)

COUNTERS: Final = {
    "minted": "one-time challenges given out",
    "ceiling_reached": "requests for challenges refused because as many as the ceiling allows were unspent",
    "login_refused": "requests for challenges with a wrong login",
    "unknown": "enrolments with a challenge that was never minted",
    "expired": "enrolments with a challenge that had expired",
    "spent_before": "enrolments with a challenge that was used before, lost replies included",
}
_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
CANDIDATES: Final = 2
"""Passwords that are tried on one message (R50)."""


class OneTimeChallenge:
    """The live plugin of one integration. It judges; the ledger spends."""

    def __init__(self, host: Host, rules: MintRules, credentials: Credentials) -> None:
        self._host = host
        self._rules = rules
        self._credentials = credentials
        self._keys = ChallengeKeys(host.integration, host.keys)
        self.minter = Mint(host, rules)

    async def redeem(self, attempt: Attempt) -> Grant:
        """Grant for a challenge that was minted here and not expired before the attempt arrived.

        A spent one is granted too: only the ledger can tell a lost reply, asked for again, from a second use.
        """
        challenge = attempt.request.challenge
        if not challenge:
            raise Refusal(Reason.CHALLENGE, "no challenge in the request")
        if not SHAPE.fullmatch(challenge):
            self._host.count("unknown")
            raise Refusal(Reason.CHALLENGE, "not a challenge that could have been minted")
        mac = self._keys.mac(challenge)
        found = await self._host.challenges.find(self._host.integration, mac)
        if found is None:
            self._host.count("unknown")
            raise Refusal(Reason.CHALLENGE, "this challenge was never minted for this integration, or is long gone")
        if isinstance(found, SpentChallenge):
            self._host.count("spent_before")
            return Grant(consumes=(mac,))
        if found.expires_at <= attempt.received_at:
            self._host.count("expired")
            raise Refusal(Reason.CHALLENGE_EXPIRED, f"expired at {found.expires_at:%Y-%m-%dT%H:%M:%SZ}")
        # What was sealed goes with the entry, so that later messages of this client can be read (R50).
        return Grant(consumes=(mac,), reference=found.sealed, uses=found.uses, binding=found.binding)

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Nobody waits for a confirmation."""

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Nobody is told."""

    async def reveal(self, hint: PasswordHint) -> Sequence[bytes]:
        """The challenge of the client's entry, or those minted for its transaction id or its subject (R49, R50)."""
        if hint.reference:
            return (self._keys.unseal(hint.reference),)
        lookups = []
        if hint.transaction_id:
            lookups.append(self._keys.by_transaction(hint.transaction_id))
        if hint.subject:
            lookups.append(self._keys.by_subject(hint.subject))
        found: dict[bytes, str] = {}
        for lookup in lookups if self._rules.kept_for_ec else ():
            for challenge in await self._host.challenges.sealed(self._host.integration, lookup):
                found.setdefault(challenge.mac, challenge.sealed)
        return tuple(self._keys.unseal(sealed) for sealed in list(found.values())[:CANDIDATES])

    async def mint(self, orders: Sequence[MintOrder], requester: str) -> Sequence[Minted]:
        """New challenges for the operator; see interfaces.Mints."""
        return await self.minter.mint(orders, requester, requester)

    async def check(self) -> Sequence[Finding]:
        """Credentials, how they can be sent, and room for more challenges."""
        known = self._credentials.known
        generations = len({one.generation for one in known})
        newest = known[0].created_at
        return (
            Finding("credentials", passed=True, text=f"{generations} valid, the newest made {newest}"),
            self._address_finding(),
            await self._room_finding(),
        )

    def _address_finding(self) -> Finding:
        address = urlsplit(self._host.public_url)
        return Finding(
            "address",
            passed=address.scheme == "https" or (address.hostname or "") in _THIS_MACHINE,
            text=f"public_url is {self._host.public_url}",
            remedy="set [server] public_url to an https address; over plain http the login is taken from this machine "
            "and from trusted proxies only",
        )

    async def _room_finding(self) -> Finding:
        try:
            unspent = await self._host.challenges.unspent(self._host.integration)
        except Fault as fault:
            return Finding("unspent challenges", passed=False, text=str(fault), remedy=_store_remedy(fault))
        ceiling = self._rules.ceiling
        return Finding(
            "unspent challenges",
            passed=ceiling is None or unspent < ceiling,
            text=f"{unspent}, ceiling {'off' if ceiling is None else ceiling}",
            remedy="raise the setting ceiling, or find out who asks for challenges without using them",
        )


def _store_remedy(fault: Fault) -> str:
    if isinstance(fault, CacheUnavailable):
        return (
            "start that Redis, or correct section [redis]: url (or sentinels, cluster_nodes), username, password_file"
        )
    return "start the database, or correct section [ledger]"
