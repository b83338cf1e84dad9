"""The command `scep-server`.

Takes: the command line, the environment, a terminal.
Gives: `main()`; results on standard output, messages on standard error, a documented exit code.
May touch: everything below it; heavy modules only inside the commands that need them, so that --help is quick.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the console script."""
    from scep_server.cli.application import application  # noqa: PLC0415 - errors of the import itself are reported too
    from scep_server.cli.failures import report  # noqa: PLC0415

    try:
        application()
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; Python must not complain about it again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:  # noqa: BLE001 - the last stop before a user's terminal
        sys.exit(report(error))


__all__ = ["main"]
