"""Takes connections from a listening socket that worker processes share, one at a time.

The event loop's own server empties the queue in one go, so that a burst of clients would all land on the worker that
woke first. Taking one and going back to the loop lets the other workers have the next.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from ssl import SSLContext
from typing import Final

log = logging.getLogger(__name__)

_HANDSHAKE_TIMEOUT: Final = 15.0
_PAUSE: Final = 0.2
"""Seconds to leave the queue alone when the process or the system is out of descriptors or memory (F24)."""


class Handshakes:
    """The connections of all sockets of a listener that are not ready yet: over TLS, they take time at will.

    room: how many may be so at this moment. Where there is no more, the oldest goes, so that nobody keeps others out by
    beginning handshakes and leaving them.
    """

    def __init__(self, room: Callable[[], int]) -> None:
        self._room = room
        # In the order of their beginning.
        self._tasks: dict[asyncio.Task[None], None] = {}

    def add(self, task: asyncio.Task[None]) -> None:
        """Until the task is done."""
        self._tasks[task] = None
        task.add_done_callback(self._forget)

    def make_room(self) -> None:
        """For one more."""
        while len(self._tasks) >= max(1, self._room()):
            oldest = next(iter(self._tasks))
            self._forget(oldest)
            oldest.cancel()

    def end(self) -> None:
        """All of them, now."""
        for task in self._tasks:
            task.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)


class Acceptor:
    """One listening socket's share of a worker."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: SSLContext | None,
        handshakes: Handshakes,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._protocol = protocol
        self._tls = tls
        self._handshakes = handshakes
        self._resume: asyncio.TimerHandle | None = None
        self._loop.add_reader(listening.fileno(), self._accept)

    def stop(self) -> None:
        """Take no more, and close our end of the queue; other workers go on with theirs."""
        if self._resume is None:
            self._loop.remove_reader(self._listening.fileno())
        else:
            self._resume.cancel()
        self._listening.close()
        if self._tls is not None:
            self._handshakes.end()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client has gone
        except OSError as error:
            log.error("cannot accept connections: %s", error.strerror)  # noqa: TRY400 - no traceback needed
            self._loop.remove_reader(self._listening.fileno())
            self._resume = self._loop.call_later(_PAUSE, self._go_on)
            return
        if self._tls is not None:
            self._handshakes.make_room()
        accepted.setblocking(False)
        connecting = self._loop.create_task(self._connect(accepted))
        # Not in the task itself: one that is cancelled before it ran runs nothing.
        connecting.add_done_callback(lambda task: accepted.close() if task.cancelled() else None)
        self._handshakes.add(connecting)

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT if self._tls else None,
            )
        except OSError:
            accepted.close()  # gone, or no TLS that we speak
