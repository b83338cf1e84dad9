"""atheris target: whole pkiMessages and envelopes, DER and BER."""

from __future__ import annotations

from tests.fuzz.harness import fuzz

if __name__ == "__main__":
    fuzz("guard", "to_der", "request", "envelope", "degenerate", "reply", "ca_certs")
