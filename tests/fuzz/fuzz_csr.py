"""atheris target: certification requests, names and alternative names."""

from __future__ import annotations

from tests.fuzz.harness import fuzz

if __name__ == "__main__":
    fuzz("csr", "subject", "alternative_names", "recipient_ids")
