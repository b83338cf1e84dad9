"""Signed messages and the degenerate form, judged by OpenSSL and asn1crypto."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import cms as second
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from scep_server.codec.cms import degenerate, finish, read_degenerate, unsigned
from scep_server.codec.messages import build_failure, finish_reply
from scep_server.errors import Malformed, Refusal
from scep_server.types import Digest, FailInfo, ReplyTo
from tests.codec import scep_messages as make
from tests.codec.scep_messages import attribute, element, printable


def test_degenerate_keeps_bytes_and_order_and_has_no_content() -> None:
    bag = [make.ra(), make.device(), make.ra()]
    data = degenerate(bag)
    assert read_degenerate(data) == (bag, [])
    signed = second.ContentInfo.load(data, strict=True)["content"]
    assert signed["version"].native == "v1"
    assert len(signed["digest_algorithms"]) == 0
    assert len(signed["signer_infos"]) == 0
    assert signed["encap_content_info"]["content_type"].native == "data"
    # Absent, not an empty OCTET STRING (R21).
    assert signed["encap_content_info"].dump() == element(0x30, bytes.fromhex("06092a864886f70d010701"))


def test_degenerate_of_a_crl_has_no_certificates() -> None:
    crl = element(0x30, b"\x02\x01\x01")
    data = degenerate((), (crl,))
    assert read_degenerate(data) == ([], [crl])
    assert second.ContentInfo.load(data, strict=True)["content"]["certificates"].native is None


@pytest.mark.parametrize("bad", [b"", b"\x30\x00", b"\x05\x00", make.envelope])
def test_what_is_no_signed_data(bad: bytes | Callable[[], bytes]) -> None:
    with pytest.raises(Malformed):
        read_degenerate(bad if isinstance(bad, bytes) else bad())


@pytest.mark.parametrize("digest", list(Digest))
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_openssl_verifies_what_we_sign(
    require_program: Callable[[str, str], Path], tmp_path: Path, digest: Digest, kind: str
) -> None:
    openssl = require_program("openssl", "openssl")
    key = make.rsa_key("device") if kind == "rsa" else make.ec_key()
    cert = make.certificate(key)
    message = unsigned(b"content", digest, [attribute("1.2.3", printable("x"))])
    data = finish(message, cert, make.sign(key, message.to_sign, digest.value))
    (tmp_path / "message").write_bytes(data)
    (tmp_path / "cert").write_bytes(load_der_x509_certificate(cert).public_bytes(Encoding.PEM))
    command = [openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", "message", "-CAfile", "cert"]
    command += ["-no_check_time", "-purpose", "any"]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=20).stdout == b"content"


def test_signed_attributes_are_in_der_order() -> None:
    reply_to = ReplyTo("t", b"n", Digest.SHA256)
    message = build_failure(reply_to, FailInfo.BAD_ALG, "no")
    data = finish_reply(message, make.ra(), bytes(256))
    info = second.ContentInfo.load(data, strict=True)["content"]["signer_infos"][0]
    members = [member.dump() for member in info["signed_attrs"]]
    assert members == sorted(members)
    assert element(0x31, *members) == message.to_sign


def _crowded() -> bytes:
    attributes = make.scep_attributes()
    attributes += [attribute(f"1.2.{n}", b"\x05\x00") for n in range(300)]
    return make.request(attributes=attributes, bag=[make.device()] * 10)


HOSTILE = {
    "crowded": _crowded,
    "a bag of 10 large certificates": lambda: make.request(
        bag=[make.device(), *[b"\x30\x82\x18\x00" + bytes(0x1800)] * 9]
    ),
    "1,000 recipients": lambda: make.request(make.envelope(recipient=element(0xA4, b"\x05\x00") * 1000)),
    "huge serial": lambda: make.request(sid=element(0x30, b"\x30\x00", element(0x02, b"\x7f" * 60000))),
    "long OID": lambda: make.request(signature_id=element(0x30, element(0x06, b"\x81" * 10000 + b"\x01"))),
    "empty INTEGER": lambda: make.request(sid=element(0x30, b"\x30\x00", b"\x02\x00")),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_messages_are_answered_within_100_ms(case: str) -> None:
    data = HOSTILE[case]()[:65536]
    before = time.thread_time()
    with contextlib.suppress(Malformed, Refusal):
        make.parse(data)
    assert time.thread_time() - before < 0.1
