"""A line to a server that can be slow, cut, silent, or talk nonsense."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Self


class Link:
    """Forwards connections to 127.0.0.1:PORT. Use as a context manager; change its fields while it runs."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.seconds = 0.0
        """Each answer is that late."""
        self.silent = False
        """Answers are lost, connections stay."""
        self.nonsense = b""
        """What is answered in place of the server's answers."""
        self.answers = 0
        """Pieces that the server sent."""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        """As [redis] url takes it."""
        return f"redis://{self.address}"

    def lead_to(self, port: int) -> None:
        """New connections go there, as when a virtual address moves."""
        self._target = port

    def cut(self) -> None:
        """End every connection, in the midst of whatever they carry."""
        for line in self._open:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                self._start(self._serve, near, far)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            back = self._start(self._carry_back, far, near)
            self._carry(near, far)
            back.join()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := near.recv(65536):
                far.sendall(piece)
        self._end(near, far)

    def _carry_back(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := far.recv(65536):
                self.answers += 1
                time.sleep(self.seconds)
                if not self.silent:
                    near.sendall(self.nonsense or piece)
        self._end(near, far)

    def _end(self, *lines: socket.socket) -> None:
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
