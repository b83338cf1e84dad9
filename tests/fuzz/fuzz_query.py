"""atheris target: raw queries and POST bodies."""

from __future__ import annotations

from tests.fuzz.harness import fuzz

if __name__ == "__main__":
    fuzz("message_from_query", "message_from_raw_query", "operation", "body")
