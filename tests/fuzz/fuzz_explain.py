"""atheris target: what the operator prints."""

from __future__ import annotations

from tests.fuzz.harness import fuzz

if __name__ == "__main__":
    fuzz("explain")
