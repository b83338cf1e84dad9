"""THE table: what each failure looks like in HTTP.

Nothing here repeats a byte of the request: bodies come from the table, and log lines name our own texts only. The
texts of foreign exceptions are withheld from the log as well, because they quote what they failed on, which may be a
challenge (N18).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from scep_server.errors import Fault, Malformed, ScepServerError, TooLarge, TooManyAttempts

log = logging.getLogger(__name__)

HEADERS: Final = {"Server": "scep-server", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class HttpRefusal(ScepServerError):
    """A request that HTTP itself lets us refuse, before SCEP comes into it."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


class Busy(Fault):
    """More work is in flight than this worker takes on."""


TEXTS: Final[Mapping[int, str]] = {
    400: "This request is not understood here.",
    404: "There is nothing here.",
    405: "This method is not served here.",
    408: "The request took too long to arrive.",
    413: "The request is too large.",
    414: "The request line is too long.",
    415: "Content encodings are not accepted.",
    417: "This expectation cannot be met.",
    429: "Too many attempts. Try again later.",
    431: "The request headers are too large.",
    501: "Only the chunked transfer coding is accepted.",
    503: "The service cannot answer now. Send the same request again later.",
}


def status_of(error: BaseException, method: str) -> int:
    """The table. Anything it does not know is our own fault: 503, so that devices try again."""
    match error:
        case HttpRefusal():
            return error.status
        case TooLarge():
            return 414 if method in {"GET", "HEAD"} else 413
        case Malformed():
            return 400
        case TooManyAttempts():
            return 429
        case Fault():
            return 503
        case LookupError() if type(error) is LookupError:
            # KeyError and IndexError are bugs, not unknown integrations.
            return 404
        case _:
            return 503


def protocol_status_of(error: BaseException | None, request_line_limit: int) -> int:
    """The table's other half: what the HTTP library could not read."""
    if isinstance(error, HttpRefusal):
        return error.status
    if isinstance(error, LineTooLong):
        return 414 if error.args[1] == request_line_limit else 431
    return 400


def plain_response(status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """The fixed text of a status."""
    body = f"{TEXTS.get(status, TEXTS[503])}\n".encode()
    return web.Response(status=status, body=body, headers={**HEADERS, "Content-Type": "text/plain", **(headers or {})})


def error_response(error: BaseException, request: web.BaseRequest, refusals: RefusalLog, wait: int) -> web.Response:
    """Answer an exception, and log it. wait: Retry-After where the error names none."""
    status = status_of(error, request.method)
    address = request.remote or ""
    headers: dict[str, str] = {}
    if isinstance(error, HttpRefusal):
        headers.update(error.headers)
    if status in {429, 503}:
        named = getattr(error, "retry_after", None)
        headers["Retry-After"] = str(wait if named is None else named)
    if isinstance(error, ScepServerError):
        whose = f"integration {error.integration}: " if isinstance(error, Fault) and error.integration else ""
        refusals.note(logging.WARNING if status == 503 else logging.INFO, status, address, f"{whose}{error}"[:300])
    elif status != 404:
        refusals.note(logging.ERROR, status, address, f"{type(error).__name__} at {where(error.__traceback__)}")
    return plain_response(status, headers)


def where(traceback: TracebackType | None) -> str:
    """Files and lines an exception passed through, outermost first, without source text or values."""
    steps = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        steps.append(f"{code.co_filename.rpartition('site-packages/')[2]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return " > ".join(steps[-12:])


class RefusalLog:
    """Strangers decide how often they are refused; they do not decide how much we write."""

    def __init__(self, lines_per_second: int = 20) -> None:
        self._allowed = lines_per_second
        self._second = 0
        self._written: Counter[int] = Counter()
        self._left_out = 0

    def note(self, level: int, status: int, address: str, text: str) -> None:
        """One line, unless this second has had its share of the level; a later line says how many were left out."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._written.clear()
        if self._written[level] >= self._allowed:
            self._left_out += 1
            return
        self._written[level] += 1
        left_out, self._left_out = self._left_out, 0
        more = f" ({left_out} more were not logged)" if left_out else ""
        log.log(level, "HTTP %d to %s: %s%s", status, address or "unknown", text, more)
