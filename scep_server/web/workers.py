"""Worker processes: forked, watched, started again, and ended without losing what is in flight (F23).

The parent only waits: it binds sockets and makes what workers share before the first fork, then holds no loop, thread,
database or key. Each worker runs the whole server. One worker needs no parent and runs in this process.

    SIGTERM, SIGINT   stop accepting, finish what is in flight within `grace` seconds, end
    SIGHUP            every worker's reload()
    a worker's death  a new one after 0.5 s, then 1, 2, ... 30 s while it keeps dying early
    the parent's      every worker stops as for SIGTERM
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

import uvloop

from scep_server.errors import Fault, ScepServerError

log = logging.getLogger(__name__)

_SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_LONGEST_DELAY: Final = 30.0
_SETTLED: Final = 60.0
"""Seconds after which a worker's end says nothing about the next one's."""
_MERCY: Final = 5.0
"""Seconds beyond `grace` after which a worker that has not ended is killed."""


class RunningServer(Protocol):
    """What make_server gives: everything of one worker, started."""

    async def stop(self, grace: float) -> None:
        """Accept no more, finish what is in flight within grace seconds, close everything."""
        ...

    def reload(self) -> None:
        """SIGHUP: take changed files. Must not raise or block; what is bad is logged and the old kept."""
        ...


MakeServer = Callable[[int], Awaitable[RunningServer]]
"""Given the worker's number (0-based), returns once the worker can serve. A ScepServerError ends the start."""


def run(
    make_server: MakeServer,
    workers: int = 1,
    *,
    sockets: Sequence[socket.socket] = (),
    grace: float = 30.0,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    sockets: what make_server's listeners accept from; the parent lets go of them when it stops, so that nobody is left
    waiting in a queue that no worker reads. on_ready: called once, in this process, when every worker can serve.
    What make_server raises at the first start is raised here, whichever worker it came from, after the others ended.
    """
    if workers == 1:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(make_server, 0, grace, on_ready, None))
    else:
        _Supervisor(make_server, workers, sockets, grace).run(on_ready)


async def _serve(
    make_server: MakeServer, number: int, grace: float, on_ready: Callable[[], None], lifeline: int | None
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report_callback_error)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    if lifeline is not None:

        def parent_is_gone() -> None:
            loop.remove_reader(lifeline)
            ended.set()

        loop.add_reader(lifeline, parent_is_gone)
    server = await make_server(number)
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    on_ready()
    await ended.wait()
    await server.stop(grace)


def _report_callback_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's own reports carry the objects at hand, request bytes among them; only their kind is logged."""
    error = context.get("exception")
    log.error("event loop: %s (%s)", context.get("message", "error"), type(error).__name__ if error else "no exception")


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int
    report: int
    """Read end of the pipe on which it says once that it is ready (None) or why it cannot be."""
    started: float
    ready: bool = False


class _Supervisor:
    def __init__(self, make_server: MakeServer, workers: int, sockets: Sequence[socket.socket], grace: float) -> None:
        self._make_server = make_server
        self._count = workers
        self._sockets = sockets
        self._grace = grace
        self._running: dict[int, _Worker] = {}
        self._due: dict[int, float] = {}
        """When to start worker number n again."""
        self._delays = dict.fromkeys(range(workers), 0.0)
        self._mask: set[signal.Signals] = set()
        self._lifeline = (-1, -1)

    def run(self, on_ready: Callable[[], None]) -> None:
        self._lifeline = os.pipe()
        # Signals are waited for, never handled: nothing can interrupt a fork half-way.
        self._mask = {signal.Signals(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)}
        try:
            for number in range(self._count):
                self._start(number)
            self._watch(on_ready)
        finally:
            self._stop_all()
            for end in self._lifeline:
                os.close(end)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _watch(self, on_ready: Callable[[], None]) -> None:
        told = False
        while True:
            self._read_reports(first_start=not told)
            if not told and all(worker.ready for worker in self._running.values()):
                told = True
                on_ready()
            received = signal.sigtimedwait(_SIGNALS, 1.0 if told and not self._due else 0.02)
            match received.si_signo if received else None:
                case signal.SIGTERM | signal.SIGINT:
                    return
                case signal.SIGHUP:
                    self._signal_all(signal.SIGHUP)
            self._reap(first_start=not told)
            now = time.monotonic()
            for number in [number for number, due in self._due.items() if due <= now]:
                del self._due[number]
                self._start(number)

    def _start(self, number: int) -> None:
        report, write_report = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become_worker(number, write_report)
        os.close(write_report)
        self._running[pid] = _Worker(number, pid, report, time.monotonic())

    def _become_worker(self, number: int, write_report: int) -> NoReturn:
        """In the child: serve, and end without unwinding into the parent's code."""
        code = 1

        def say(outcome: ScepServerError | None) -> None:
            os.write(write_report, pickle.dumps(outcome))
            os.close(write_report)

        try:
            os.close(self._lifeline[1])
            for worker in self._running.values():
                if worker.report >= 0:
                    os.close(worker.report)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(self._make_server, number, self._grace, lambda: say(None), self._lifeline[0]))
            code = 0
        except ScepServerError as error:
            # A fresh one of the same kind: what hangs on the original may not fit through a pipe.
            say(_portable(error))
        except BaseException:
            log.exception("worker %d failed", number)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _read_reports(self, *, first_start: bool) -> None:
        waiting = {worker.report: worker for worker in self._running.values() if worker.report >= 0}
        for report in select.select(list(waiting), [], [], 0)[0]:
            self._read_report(waiting[report], first_start=first_start)

    def _read_report(self, worker: _Worker, *, first_start: bool) -> None:
        """Raises what the worker could not start for, at the first start; later it is logged, and tried again."""
        said = os.read(worker.report, 65536)
        os.close(worker.report)
        worker.report = -1
        outcome = pickle.loads(said) if said else Fault("a worker ended while it started")  # noqa: S301 - our child
        if outcome is None:
            worker.ready = True
        elif first_start:
            raise outcome
        else:
            log.error("worker %d cannot start: %s", worker.number, outcome)

    def _reap(self, *, first_start: bool) -> None:
        for worker in list(self._running.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            # First of all: its process id may be somebody else's by now.
            del self._running[worker.pid]
            if worker.report >= 0:
                self._read_report(worker, first_start=first_start)
            lived = time.monotonic() - worker.started
            delay = self._delays[worker.number]
            delay = 0.5 if lived > _SETTLED or delay == 0.0 else min(_LONGEST_DELAY, delay * 2)
            self._delays[worker.number] = delay
            self._due[worker.number] = time.monotonic() + delay
            log.error(
                "worker %d ended (%s) after %.0f s; starting it again in %g s",
                worker.number,
                _how(status),
                lived,
                delay,
            )

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self._running:
            os.kill(pid, number)

    def _stop_all(self) -> None:
        for listening in self._sockets:
            listening.close()
        self._signal_all(signal.SIGTERM)
        end = time.monotonic() + self._grace + _MERCY
        while self._running:
            for worker in list(self._running.values()):
                if os.waitpid(worker.pid, os.WNOHANG)[0]:
                    del self._running[worker.pid]
                    if worker.report >= 0:
                        os.close(worker.report)
            left = end - time.monotonic()
            if not self._running:
                return
            if left <= 0:
                log.error("%d workers did not end in time and are killed", len(self._running))
                self._signal_all(signal.SIGKILL)
                end = time.monotonic() + self._grace
            signal.sigtimedwait({signal.SIGCHLD}, min(0.5, max(left, 0.01)))


def _portable(error: ScepServerError) -> ScepServerError:
    try:
        if pickle.loads(pickle.dumps(error)) is not None:  # noqa: S301 - made one line above
            return error
    except Exception:  # noqa: BLE001 - an error with arguments of its own
        return Fault(str(error))
    return Fault(str(error))


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
