"""atheris target: what the operator prints."""

from __future__ import annotations

from harness import fuzz

if __name__ == "__main__":
    fuzz("explain")
