"""docs/first-certificate.md, typed as it stands: its commands run in order, against a server of its own port."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from tests.e2e.server import ScepServer
from tests.house.tree import ROOT
from tests.house.typed import type_in

PAGE = ROOT / "docs" / "first-certificate.md"
BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_TYPED = "git clone"
"""The block that begins so is done by the fixture."""
INSTALLS = re.compile(r"^sudo apt-get install .*\n", re.MULTILINE)
"""Has been done on this machine."""
AFTER = "scep-server client enroll --url ${URL%default}lab"
"""From here on the page needs a second terminal; tests/interop and tests/cli approve by hand."""


def typed(page: str, url: str) -> str:
    """The page's commands as one script."""
    commands = [INSTALLS.sub("", block) for block in BLOCK.findall(page) if not block.startswith(NOT_TYPED)]
    waiting = next(number for number, block in enumerate(commands) if block.startswith(AFTER))
    script = "".join([*commands[:waiting], *(block for block in commands[waiting:] if "cert revoke" in block)])
    return script.replace("URL=http://127.0.0.1:8080/scep/default", f"URL={url}")


def test_the_page_leads_to_certificates(require_program: Callable[[str, str], Path], tmp_path: Path) -> None:
    require_program("pki", "strongswan-pki")
    with ScepServer(tmp_path / "scep-data") as server:
        script = typed(PAGE.read_text(encoding="utf-8"), server.url)
        assert server.url in script
        assert "pki --scep " in script
        (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
        type_in(script, tmp_path)
        states = {entry["subject"]: entry["state"] for entry in server.certificates()}
    assert states == {"CN=laptop-1,O=Example": "revoked", "CN=laptop-2,O=Example,C=CH": "issued"}
    for folder in ("laptop-1", "laptop-2"):
        assert x509.load_pem_x509_certificate((tmp_path / folder / "cert.pem").read_bytes())
