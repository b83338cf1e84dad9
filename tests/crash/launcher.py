"""The real program with one labelled step that kills it: python launcher.py LABEL ARM_FILE <scep-server arguments>.

Product code knows nothing of crashes. This wraps the functions at whose edges a crash is interesting, then calls the
program's own main. A step is harmless until ARM_FILE exists; then passage n (the file's content) is the last.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

NEVER = "never"
LABELS = ("before-intent", "after-intent", "before-sign", "after-sign", "after-commit", "mid-send", "after-send")


class Step:
    """One labelled step of the running program."""

    def __init__(self, label: str, arm_file: Path) -> None:
        self.label = label
        self._arm_file = arm_file
        self._passages = 0
        self._lock = threading.Lock()

    def passed(self) -> bool:
        """Count a passage; True when this one is the last."""
        if not self._arm_file.exists():
            return False
        with self._lock:
            self._passages += 1
            return self._passages >= int(self._arm_file.read_text() or "1")

    def die_when_due(self) -> None:
        if self.passed():
            die()


def die() -> NoReturn:
    """kill -9 of ourselves: no handler, no flush, no destructor."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive after SIGKILL")


def around(owner: type, name: str, step: Step, *, before: bool) -> None:
    """Let step pass before or after each call of this coroutine function or plain method."""
    original = getattr(owner, name)

    async def awaited(call: Any) -> Any:
        if before:
            step.die_when_due()
        result = await call
        if not before:
            step.die_when_due()
        return result

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if inspect.iscoroutinefunction(original):
            return awaited(original(*args, **kwargs))
        if before:
            step.die_when_due()
        result = original(*args, **kwargs)
        if not before:
            step.die_when_due()
        return result

    setattr(owner, name, wrapper)


def die_while_sending(step: Step, *, half: bool) -> None:
    """Let the kernel have half of a reply, or all of it, then die."""
    from aiohttp import http_writer

    def intercept(original: Callable[..., None], joined: Callable[[Any], bytes]) -> Callable[..., None]:
        @functools.wraps(original)
        def wrapper(self: Any, chunks: Any) -> None:
            data = joined(chunks)
            if b"application/x-pki-message" in data and step.passed():
                length = len(data) // 2 if half else len(data)
                os.write(self.transport.get_extra_info("socket").fileno(), data[:length])
                die()
            original(self, chunks)

        return wrapper

    writer: Any = http_writer.StreamWriter
    writer._write = intercept(writer._write, bytes)
    writer._writelines = intercept(writer._writelines, b"".join)


def install(label: str, arm_file: Path) -> None:
    """Put the labelled step into the program."""
    from scep_server.ca.authority import SoftwareAuthority
    from scep_server.enrollment.issuing import Issuing

    step = Step(label, arm_file)
    places: dict[str, Callable[[], None]] = {
        NEVER: lambda: None,
        "before-intent": lambda: around(Issuing, "open", step, before=True),
        "after-intent": lambda: around(Issuing, "open", step, before=False),
        "before-sign": lambda: around(SoftwareAuthority, "issue", step, before=True),
        "after-sign": lambda: around(SoftwareAuthority, "issue", step, before=False),
        "after-commit": lambda: around(Issuing, "_sign", step, before=False),
        "mid-send": lambda: die_while_sending(step, half=True),
        "after-send": lambda: die_while_sending(step, half=False),
    }
    places[label]()


def main() -> None:
    label, arm_file, *arguments = sys.argv[1:]
    install(label, Path(arm_file))
    sys.argv = ["scep-server", *arguments]
    from scep_server.cli import main as program

    program()


if __name__ == "__main__":
    main()
