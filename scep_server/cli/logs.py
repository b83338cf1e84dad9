"""What a serving process writes to standard error besides the audit: one bounded, escaped line a message (N21)."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from scep_server.config import LogSettings

MAX_TEXT: Final = 2000
"""Characters of one message; what is longer came from outside."""


def configure_logging(settings: LogSettings) -> None:
    """Root logger to standard error, as JSON lines or as text. Called before workers are forked."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _bounded,
    ]
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(sort_keys=False)
    if settings.format == "text":
        renderer = _as_text
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    # Its access and protocol logs would carry bytes of clients, unbounded; ours say what happened.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(max(root.level, logging.WARNING))


def _bounded(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    text = str(event.get("event", ""))
    event["event"] = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"
    return event


def _as_text(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    text = f"{event.get('timestamp')} {event.get('level')} {event.get('logger')}: {event.get('event')}"
    if "exception" in event:
        text += f" {event['exception']}"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
