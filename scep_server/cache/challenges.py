"""Unspent one-time challenges in Redis (interfaces.Challenges). Decision 12 says what may be lost here, and why safely.

Keys, all under a keyed name of the integration, which is also the hash tag that keeps them on one cluster node:

    scep:{TAG}:challenge:MAC    the challenge (values.py), until a day after it expired
    scep:{TAG}:open             MACs by expiry, in milliseconds: the ceiling and the counts
    scep:{TAG}:lookup:LOOKUP    MACs of those found by this lookup, by expiry (R50)
    scep:{OWN}:integrations     tags that have an `open`
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from scep_server.cache.server import RedisServer
from scep_server.cache.values import pack, unpack
from scep_server.errors import CacheUnavailable, ChallengesFull, Fault
from scep_server.interfaces import Challenges, Clock, KeyFile
from scep_server.types import Event, OpenChallenge, SpentChallenge

KEPT: Final = timedelta(days=1)
"""After its expiry a challenge is still found, so that a late device is told apart from a guesser."""
CANDIDATES: Final = 2
LOOKED_AT: Final = 32
"""Unexpired challenges of one lookup that are read to find the newest two."""
FORGET_SECONDS: Final = 0.1
CONTEXT: Final = "redis key"

PIECE: Final = 500
"""Challenges kept or forgotten in one step; Redis does nothing else meanwhile, for a few milliseconds."""

KEEP: Final = """
local now, ceiling, challenges = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if ceiling >= 0 and redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf') + challenges > ceiling then return 'full' end
for number = 1, challenges do
  if redis.call('EXISTS', KEYS[1 + number]) == 1 then return 'taken' end
end
local function outlive(key, milliseconds)
  if redis.call('PTTL', key) < tonumber(milliseconds) then redis.call('PEXPIRE', key, milliseconds) end
end
local at = 4
for number = 1, challenges do
  local mac, expires, kept, value = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  redis.call('SET', KEYS[1 + number], value, 'PX', kept)
  redis.call('ZADD', KEYS[1], expires, mac)
  outlive(KEYS[1], kept)
  at = at + 4
end
for number = 2 + challenges, #KEYS do
  local mac, expires, kept = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  redis.call('ZREMRANGEBYSCORE', KEYS[number], '-inf', now)
  redis.call('ZADD', KEYS[number], expires, mac)
  outlive(KEYS[number], kept)
  at = at + 3
end
return 'kept'
"""
"""Counts, and keeps all of them, or none: one step for everybody else, and refused as a whole when memory is full."""

FORGET: Final = """
local values = {}
for number = 1, #ARGV do
  values[number] = redis.call('GET', KEYS[1 + number])
  redis.call('DEL', KEYS[1 + number])
end
redis.call('ZREM', KEYS[1], unpack(ARGV))
return values
"""
"""Gives the values, because only they know their lookups."""

T = TypeVar("T")
Record = Callable[[Sequence[Event]], Awaitable[None]]


class RedisChallenges:
    """interfaces.Challenges, on a Redis that any number of processes share.

    elsewhere: the ledger's, which knows what is spent, and has what was minted before there was a Redis.
    record: writes audit events to the ledger; returns after the commit.
    """

    def __init__(
        self, server: RedisServer, keys: KeyFile, *, clock: Clock, elsewhere: Challenges, record: Record
    ) -> None:
        self._server = server
        self._keys = keys
        self._clock = clock
        self._elsewhere = elsewhere
        self._record = record
        self._integrations = f"scep:{{{self._tag('')}}}:integrations"

    async def put(self, challenges: Sequence[OpenChallenge], ceiling: int | None, events: Sequence[Event]) -> None:
        """Keep all, of one integration, or none. The events are on record first: no challenge that works was minted in
        silence, and one that is on record but was not kept admits nobody; a second event then says so.
        """
        if not challenges:
            await self._record(events)
            return
        (integration,) = {challenge.integration for challenge in challenges}
        # Before anything is written down: does Redis take writes at all, and is there room?
        await self._server.command("SADD", self._integrations, self._tag(integration))
        if ceiling is not None and await self.unspent(integration) + len(challenges) > ceiling:
            raise _full(integration, ceiling)
        await self._record(events)
        try:
            await self._keep(integration, challenges, ceiling)
        except (ChallengesFull, Fault):
            await self._not_kept(integration, challenges)
            raise

    async def find(self, integration: str, mac: bytes) -> OpenChallenge | SpentChallenge | None:
        """What Redis has, spent or not: the ledger refuses a spent one when it is about to be used. What Redis has not,
        the ledger may know: as spent, or as its own from the time before there was a Redis.
        """
        value = await self._server.command("GET", self._challenge(integration, mac))
        if value is not None:
            challenge = await self._opened(value, integration, mac)
            if challenge is not None:
                return dataclasses.replace(challenge, lookups=())
        return await self._elsewhere.find(integration, mac)

    async def sealed(self, integration: str, lookup: bytes) -> Sequence[OpenChallenge]:
        """The newest two unexpired ones that keep their challenge and are found by this lookup (R50)."""
        now = self._clock()
        macs = await self._server.command(
            "ZREVRANGEBYSCORE", self._lookup(integration, lookup), "+inf", f"({_ms(now)}", "LIMIT", 0, LOOKED_AT
        )
        found = await self._all_of(integration, _are(bytes, macs))
        fit = [one for one in found if one.sealed and lookup in one.lookups and one.expires_at > now]
        known = [*fit, *await self._elsewhere.sealed(integration, lookup)]
        newest = sorted(known, key=lambda one: one.minted_at, reverse=True)[:CANDIDATES]
        return [dataclasses.replace(one, lookups=()) for one in newest]

    async def unspent(self, integration: str) -> int:
        """How many are open and not expired."""
        return _is(int, await self._server.command("ZCOUNT", self._open(integration), f"({_ms(self._clock())}", "+inf"))

    async def forget(self, integration: str, macs: Sequence[bytes]) -> None:
        """Take them away, each step within FORGET_SECONDS. Never raises: the ledger has decided."""
        with contextlib.suppress(Fault):
            for start in range(0, len(macs), PIECE):
                await self._forget(integration, macs[start : start + PIECE])

    async def expire(self, now: datetime) -> int:
        """Count those that expired since any process last asked. Redis itself forgets the challenges, a day later; the
        ledger those it has.
        """
        count = 0
        for tag in _are(bytes, list(_is(set, await self._server.command("SMEMBERS", self._integrations)))):
            if re.fullmatch(b"[0-9a-f]{32}", tag):  # anything else is not of our making
                key = f"scep:{{{tag.decode()}}}:open"
                count += _is(int, await self._server.command("ZREMRANGEBYSCORE", key, "-inf", _ms(now)))
        return count + await self._elsewhere.expire(now)

    async def _all_of(self, integration: str, macs: Sequence[bytes]) -> list[OpenChallenge]:
        """Those of the challenges that are there and of our making."""
        if not macs:
            return []
        values = await self._server.command("MGET", *(self._challenge(integration, mac) for mac in macs))
        return [
            challenge
            for mac, value in zip(macs, _are(object, values), strict=False)
            if value is not None and (challenge := await self._opened(value, integration, mac)) is not None
        ]

    async def _keep(self, integration: str, challenges: Sequence[OpenChallenge], ceiling: int | None) -> None:
        """In pieces; the first ones are taken back when a later one fails."""
        kept = 0
        try:
            while kept < len(challenges):
                piece = challenges[kept : kept + PIECE]
                await self._keep_piece(integration, piece, ceiling)
                kept += len(piece)
        except (ChallengesFull, Fault):
            await self.forget(integration, [one.mac for one in challenges[:kept]])
            raise

    async def _keep_piece(self, integration: str, piece: Sequence[OpenChallenge], ceiling: int | None) -> None:
        now = self._clock()
        keys = [self._open(integration)]
        values: list[bytes | str | int] = [_ms(now), -1 if ceiling is None else ceiling, len(piece)]
        for one in piece:
            keys.append(self._challenge(integration, one.mac))
            values += [one.mac, _ms(one.expires_at), _kept_ms(one, now), pack(one, self._keys)]
        for one in piece:
            for lookup in one.lookups:
                keys.append(self._lookup(integration, lookup))
                values += [one.mac, _ms(one.expires_at), _kept_ms(one, now)]
        answer = await self._server.command("EVAL", KEEP, len(keys), *keys, *values)
        if answer == b"full":
            raise _full(integration, ceiling)
        if answer != b"kept":
            raise CacheUnavailable("Redis: has a challenge of this MAC already, or answers nonsense")

    async def _forget(self, integration: str, macs: Sequence[bytes]) -> None:
        keys = [self._open(integration), *(self._challenge(integration, mac) for mac in macs)]
        values = _are(object, await self._tidy("EVAL", FORGET, len(keys), *keys, *macs))
        for mac, value in zip(macs, values, strict=False):
            challenge = None if value is None else unpack(_is(bytes, value), integration, mac, self._keys)
            for lookup in () if challenge is None else challenge.lookups:
                await self._tidy("ZREM", self._lookup(integration, lookup), mac)

    async def _not_kept(self, integration: str, challenges: Sequence[OpenChallenge]) -> None:
        """Best effort: the caller is told of the failure in any case."""
        detail = {"count": len(challenges), "store": "redis"}
        with contextlib.suppress(Fault):
            await self._record([Event("challenge.not_kept", self._clock(), integration, detail=detail)])

    async def _opened(self, value: Any, integration: str, mac: bytes) -> OpenChallenge | None:
        """None, and a security event, for a value that is not of our making: it is as good as absent."""
        challenge = unpack(_is(bytes, value), integration, mac, self._keys)
        if challenge is None:
            detail = {"store": "redis", "key": self._challenge(integration, mac)}
            await self._record([Event("challenge.forged", self._clock(), integration, detail=detail, security=True)])
        return challenge

    async def _tidy(self, *words: bytes | str | int) -> Any:
        return await self._server.command(*words, at_most=FORGET_SECONDS)

    def _tag(self, integration: str) -> str:
        """Keyed, so that names of any shape are safe in a key and Redis does not learn them."""
        return self._keys.mac(integration.encode(), CONTEXT)[:16].hex()

    def _open(self, integration: str) -> str:
        return f"scep:{{{self._tag(integration)}}}:open"

    def _challenge(self, integration: str, mac: bytes) -> str:
        return f"scep:{{{self._tag(integration)}}}:challenge:{mac.hex()}"

    def _lookup(self, integration: str, lookup: bytes) -> str:
        return f"scep:{{{self._tag(integration)}}}:lookup:{lookup.hex()}"


def _is(kind: type[T], answer: Any) -> T:
    """The answer, of the kind that Redis gives. CacheUnavailable when something else answers in its place."""
    if not isinstance(answer, kind):
        raise CacheUnavailable("Redis: an answer that makes no sense")
    return answer


def _are(kind: type[T], answer: Any) -> list[T]:
    return [_is(kind, one) for one in _is(list, answer)]


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _kept_ms(challenge: OpenChallenge, now: datetime) -> int:
    """How long Redis keeps it. One that is older than that is kept for a moment: Redis refuses no time at all."""
    return max(1, _ms(challenge.expires_at + KEPT) - _ms(now))


def _full(integration: str, ceiling: int | None) -> ChallengesFull:
    return ChallengesFull(f"integration {integration} has as many unspent challenges as its ceiling allows: {ceiling}")
