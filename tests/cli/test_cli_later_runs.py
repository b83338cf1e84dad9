"""What a second run must leave as the first one made it: the address in certificates, and a key in use."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.client import Folder, Outstanding
from scep_server.client.identity import build_csr, generate_key, parse_subject, self_signed, transaction_id
from scep_server.types import MessageType
from tests.cli import program
from tests.cli.program import Quickstart


def test_a_later_run_on_every_address_keeps_the_public_url_of_the_first(tmp_path: Path) -> None:
    start = ("quickstart", "--data", tmp_path / "data", "--key-type", "p256", "--admin-listen", "127.0.0.1:0", "--json")
    with program.serving(*start, "--listen", "127.0.0.1:0", "--public-url", "http://ca.example.org") as (line, _):
        first = json.loads(line)["scep_url"]
    with program.serving(*start, "--listen", "0.0.0.0:0") as (line, _):
        assert json.loads(line)["scep_url"] == first == "http://ca.example.org/scep/default"


def test_a_mistyped_poll_does_not_cost_the_key_of_a_request_that_was_sent(site: Quickstart, tmp_path: Path) -> None:
    folder, key, subject = Folder(tmp_path / "sent"), generate_key("rsa2048"), parse_subject("CN=sent")
    csr = build_csr(key, subject, (), site.line["challenge"])
    begun = Outstanding(
        url=site.line["scep_url"],
        transaction_id=transaction_id(key),
        message_type=int(MessageType.PKCS_REQ),
        pending=False,
        csr=csr.public_bytes(Encoding.DER),
        signer=self_signed(key, subject).der,
        signer_key=str(folder.path / "key.pem"),
    )
    folder.begin(key, begun)
    mistyped = program.call("client", "poll", "--out", folder.path, "--cipher", "des3")
    assert mistyped.returncode == 1
    assert "DES3" in mistyped.stderr
    assert program.call("client", "poll", "--out", folder.path).returncode == 0
    assert (folder.path / "cert.pem").exists()
