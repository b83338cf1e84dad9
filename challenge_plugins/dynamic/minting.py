"""Makes one-time challenges and finds them again by their keyed MAC; the challenge itself is kept nowhere.

A challenge is 32 upper-case hexadecimal digits (128 bit): every consumer of an NDES page reads them, forms that take a
fixed count of characters count them, and Windows can encode them as a PrintableString. It is compared as it was given
out: clients pass it on unchanged.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from challenge_plugins.dynamic.orders import MAX_ORDERS, check_order, names_of
from challenge_plugins.dynamic.settings import MintRules
from scep_server.errors import ChallengesFull, ConfigurationError, TooManyAttempts
from scep_server.interfaces import Host, KeyFile
from scep_server.types import Event, Minted, MintOrder, OpenChallenge

CHALLENGE_BYTES: Final = 16
SHAPE: Final = re.compile(r"[0-9A-F]{32}")


@dataclass(frozen=True, slots=True)
class ChallengeKeys:
    """The key file's uses for the challenges of one integration."""

    integration: str
    keys: KeyFile = field(repr=False)

    def mac(self, challenge: str) -> bytes:
        """What a challenge is known by."""
        return self.keys.mac(challenge.encode(), f"one-time:{self.integration}")

    def by_transaction(self, transaction_id: str) -> bytes:
        """What finds a sealed challenge by the transaction id it was minted for."""
        return self.keys.mac(transaction_id.encode(), f"one-time-transaction:{self.integration}")

    def by_subject(self, canonical: str) -> bytes:
        """What finds a sealed challenge by the canonical subject it was minted for."""
        return self.keys.mac(canonical.encode(), f"one-time-subject:{self.integration}")

    def seal(self, challenge: str) -> str:
        """The challenge, recoverable with the key file only (R49)."""
        return self.keys.encrypt(challenge.encode(), f"one-time-sealed:{self.integration}")

    def unseal(self, sealed: str) -> bytes:
        """ConfigurationError when it is not this integration's."""
        return self.keys.decrypt(sealed, f"one-time-sealed:{self.integration}")


class Mint:
    """Mints for one integration."""

    def __init__(self, host: Host, rules: MintRules) -> None:
        self._host = host
        self._rules = rules
        self._keys = ChallengeKeys(host.integration, host.keys)

    async def mint(
        self, orders: Sequence[MintOrder], requester: str, source: str, said: Mapping[str, str] | None = None
    ) -> Sequence[Minted]:
        """One challenge an order, all kept or none, in one commit with their audit. See interfaces.Mints.

        source: where the wish came from. said: what the requester told of itself, for the audit.
        """
        if not 1 <= len(orders) <= MAX_ORDERS:
            raise ConfigurationError(f"1 to {MAX_ORDERS} challenges are minted at once")
        now = self._host.clock()
        kept, minted = [], []
        subjects = {order: self._canonical(order) for order in dict.fromkeys(orders)}
        for order in orders:
            challenge = secrets.token_hex(CHALLENGE_BYTES).upper()
            expires_at = now + (order.lifetime or self._rules.lifetime)
            kept.append(self._open_challenge(order, challenge, now, expires_at, subjects[order]))
            minted.append(Minted(challenge, expires_at))
        asked = {"requester": requester, **(said or {})}
        events = self._events(orders, asked, source, now)
        try:
            await self._host.challenges.put(kept, self._rules.ceiling, events)
        except ChallengesFull as full:
            await self._tell_ceiling(asked, source, now)
            raise ChallengesFull(
                f"{full}; let it be higher with `scep-server integration set {self._host.integration} --setting "
                "ceiling=NUMBER`, or wait until some are used or expire"
            ) from None
        self._host.count("minted", len(minted))
        return minted

    async def _tell_ceiling(self, asked: Mapping[str, str], source: str, now: datetime) -> None:
        """All are counted; one a minute is on record, since whoever asks on and on is told no each time."""
        self._host.count("ceiling_reached")
        try:
            self._host.throttle("ceiling_reached", 1)
        except TooManyAttempts:
            return
        detail = {"ceiling": self._rules.ceiling, **asked}
        await self._host.record(
            (Event("challenge.ceiling_reached", now, self._host.integration, source=source, detail=detail),)
        )

    def _canonical(self, order: MintOrder) -> str | None:
        return check_order(order, self._host.canonical_subject, kept_for_ec=self._rules.kept_for_ec)

    def _open_challenge(
        self, order: MintOrder, challenge: str, now: datetime, expires_at: datetime, subject: str | None
    ) -> OpenChallenge:
        lookups = []
        if self._rules.kept_for_ec:
            if order.transaction_id is not None:
                lookups.append(self._keys.by_transaction(order.transaction_id))
            if subject is not None:
                lookups.append(self._keys.by_subject(subject))
        return OpenChallenge(
            integration=self._host.integration,
            mac=self._keys.mac(challenge),
            minted_at=now,
            expires_at=expires_at,
            uses=order.uses,
            binding=order.binding,
            sealed=self._keys.seal(challenge) if lookups else "",
            lookups=tuple(lookups),
        )

    def _events(self, orders: Sequence[MintOrder], asked: Mapping[str, str], source: str, now: datetime) -> list[Event]:
        """One for each kind of order."""
        events = []
        for order, count in Counter(orders).items():
            expires_at = now + (order.lifetime or self._rules.lifetime)
            detail = {
                "count": count,
                "expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "uses": order.uses,
                **asked,
                **names_of(order),
            }
            events.append(Event("challenge.minted", now, self._host.integration, source=source, detail=detail))
        return events
