"""How a command ends: the documented exit codes, and one line on standard error that names cause and remedy.

0  done
1  an error: the line says which
2  the command line is wrong
3  refused: the server answered FAILURE, or the operation is not possible in this state
4  pending: an operator has to approve first
5  unavailable: database or server cannot be reached now; the same command may be repeated
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

from scep_server.errors import CacheUnavailable, Fault, Refusal, ScepServerError

ERROR: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
PENDING: Final = 4
UNAVAILABLE: Final = 5

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 error, 2 wrong command line, 3 refused, 4 pending, 5 unavailable (repeat later)."
)

REDIS_REMEDY: Final = "start that Redis, or correct section [redis] (how it is reached, username, password_file)"


class CommandFailed(ScepServerError):
    """A command that ends with a code of its own."""

    def __init__(self, text: str, code: int = ERROR) -> None:
        super().__init__(text)
        self.code = code


def report(error: Exception) -> int:
    """Prints the error for a person and gives the exit code. A traceback only where SCEP_SERVER_DEBUG asks for it."""
    if os.environ.get("SCEP_SERVER_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, CacheUnavailable):
        say(f"error: {error}; {REDIS_REMEDY}")
    elif isinstance(error, ScepServerError):
        say(f"error: {error}")
    else:
        # The text of a stray exception may quote what it choked on, so only its kind is shown.
        say(f"error: unexpected {type(error).__name__}; run again with SCEP_SERVER_DEBUG=1 for where, and report it")
    match error:
        case CommandFailed():
            return error.code
        case Refusal():
            return REFUSED
        case Fault():
            return UNAVAILABLE
        case _:
            return ERROR


def say(text: str) -> None:
    """One message on standard error, control characters escaped (terminals obey them)."""
    lines = ("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line) for line in text.split("\n"))
    print("\n".join(lines), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A warning on standard error."""
    say(f"warning: {text}")
