"""Every certificate and CRL that a test run's server made, shown to pkilint when the run is over."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.ca.linters import certificate_errors, crl_errors
from tests.e2e.server import ScepServer


def lint_everything(server: ScepServer) -> None:
    """Fails when pkilint finds an error in what this server issued, published or serves as its own certificates."""
    with closing(sqlite3.connect(f"file:{server.data}/ledger.sqlite3?mode=ro", uri=True)) as ledger:
        issued = [der for (der,) in ledger.execute("SELECT certificate FROM entry WHERE certificate IS NOT NULL")]
        lists = [der for (der,) in ledger.execute("SELECT der FROM crl")]
    assert lists
    findings = {der.hex(): found for der in issued + server.ca_certificates() if (found := certificate_errors(der))}
    findings |= {der.hex(): found for der in lists if (found := crl_errors(der))}
    assert findings == {}
