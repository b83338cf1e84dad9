"""One Redis as this project asks it: in bounded time, or not at all while it is down, and with one kind of error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Awaitable, Callable
from socket import gaierror
from ssl import SSLCertVerificationError, SSLError
from typing import Any, Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, ClusterDownError, MasterDownError, ReadOnlyError, ResponseError

from scep_server.cache.breaker import Breaker
from scep_server.errors import CacheUnavailable

CALLS: Final = 32
"""At the same time, in one process; each has a connection. Further ones wait, within their time limit."""

_CODE: Final = re.compile(r"[A-Z]{2,16}(?= )")
_ERRNO: Final = re.compile(r"\[Errno ([0-9]+)\]")

Execute = Callable[..., Awaitable[Any]]


class RedisServer:
    """Commands to a Redis, a Sentinel's master or a Cluster.

    execute: sends one command and gives its answer.
    reconnect: drops idle connections, so that the next command looks the server up again.
    close: ends all connections.
    seconds: how long one command may take, connecting included.
    """

    def __init__(
        self,
        execute: Execute,
        reconnect: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
        *,
        seconds: float,
        breaker: Breaker,
    ) -> None:
        self._execute = execute
        self._reconnect = reconnect
        self._close = close
        self._seconds = seconds
        self._breaker = breaker
        self._places = asyncio.Semaphore(CALLS)

    async def command(self, *words: bytes | str | int, at_most: float | None = None) -> Any:
        """The answer to one command. CacheUnavailable for everything else, whatever it is.

        at_most: seconds, for what may as well be left undone; failing in that time says nothing about the server.
        """
        self._breaker.admit()
        limit = self._seconds if at_most is None else min(at_most, self._seconds)
        # Who had to wait for a place had less than the server's time, so its failure says nothing about the server.
        prompt = at_most is None and not self._places.locked()
        try:
            async with asyncio.timeout(limit), self._places:
                answer = await self._execute(*words)
        except Exception as error:  # noqa: BLE001 - the library raises nearly anything when it is sent nonsense
            cause = _cause(error, limit)
            if _answered(error):
                self._breaker.succeeded()
            elif prompt:
                self._breaker.failed(cause)
            if isinstance(error, ReadOnlyError):
                with contextlib.suppress(Exception):
                    await self._reconnect()  # a name or virtual address may lead to the new master by now
            # The error's own text stays behind: a server repeats what it was sent, and AUTH was among it.
            raise CacheUnavailable(f"Redis: {cause}") from None
        self._breaker.succeeded()
        return answer

    async def aclose(self) -> None:
        """End all connections."""
        await self._close()


def _answered(error: Exception) -> bool:
    """The server refused this one command; others may well succeed (reads on a full or read-only server do)."""
    return isinstance(error, ResponseError) and not isinstance(error, ClusterDownError | MasterDownError)


def _cause(error: Exception, seconds: float) -> str:
    """A few words, none of them the server's but its error code."""
    if isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError":
        return f"no answer within {seconds * 1000:.0f} ms"
    if isinstance(error, AuthenticationError):
        return "user name or password is not accepted"
    if isinstance(error, MasterNotFoundError):
        return "no sentinel answers that knows a master of the name in sentinel_service"
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, SSLCertVerificationError):
            return f"certificate is not trusted ({below.verify_message})"
        if isinstance(below, OSError) and (why := _why(below)):
            return f"no connection ({why})"
        below = below.__cause__ or below.__context__
    code = getattr(error, "status_code", None) or (match[0] if (match := _CODE.match(str(error))) else "")
    return f"{type(error).__name__} {code}".rstrip()


def _why(error: OSError) -> str:
    """In the operating system's words: asyncio's name the address as Python writes it, or several of them."""
    if isinstance(error, gaierror | SSLError):  # their numbers are of another list
        return error.strerror or ""
    first = _ERRNO.search(str(error))
    number = error.errno or (int(first[1]) if first else 0)
    return os.strerror(number) if number else ""
