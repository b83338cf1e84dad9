"""What the atheris targets share: instrumented imports, one loop over some parsers."""

from __future__ import annotations

import sys


def fuzz(*parsers: str) -> None:
    """Feed every input to each of these parsers until libFuzzer's own arguments say stop."""
    import atheris

    with atheris.instrument_imports(include=["scep_server", "asn1crypto"]):
        from tests.fuzz.parsers import run

    def one_input(data: bytes) -> None:
        for parser in parsers:
            run(parser, data)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
