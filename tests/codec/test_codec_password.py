"""Password recipients in both directions, with OpenSSL at the other end (R47 to R50)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scep_server.codec.asn1 import OID, encode
from scep_server.codec.certificate import recipient_ids
from scep_server.codec.messages import build_success, finish_reply, open_request, parse_request
from scep_server.codec.password import unwrap_password, wrap_password
from scep_server.codec.replies import open_reply, parse_reply
from scep_server.codec.requests import build_request, finish_request
from scep_server.errors import Reason, Refusal
from scep_server.types import (
    Cipher,
    KeyTransport,
    MessageType,
    PasswordWrappedKey,
    ReplyEncryption,
    SealedRequest,
)
from tests.codec import scep_messages as make
from tests.codec.scep_messages import element

SECRET = b"correct horse battery staple"


@pytest.fixture(scope="module")
def cms(require_program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    program = require_program("openssl", "openssl")
    folder = tmp_path_factory.mktemp("pwri")

    def run(data: bytes, *arguments: str) -> bytes:
        (folder / "in").write_bytes(data)
        command = [str(program), "cms", "-binary", *arguments, "-in", "in"]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=20).stdout

    return run


def ec_request(envelope: bytes) -> bytes:
    key = make.ec_key()
    return make.request(envelope, key=key, cert=make.certificate(key))


def parse(data: bytes) -> SealedRequest:
    return parse_request(data, make.ALLOWED, make.recipients())


@pytest.mark.parametrize("cipher", ["-aes128", "-aes192", "-aes256"])
@pytest.mark.parametrize("stream", [True, False])
def test_openssl_encrypts_we_open(cms: Callable[..., bytes], cipher: str, stream: bool) -> None:
    content = make.csr(make.ec_key())
    arguments = ["-encrypt", cipher, "-pwri_password", SECRET.decode(), "-outform", "DER"]
    sealed = parse(ec_request(cms(content, *arguments, *(["-stream"] if stream else []))))
    wrapped = sealed.envelope.recipient
    assert isinstance(wrapped, PasswordWrappedKey)
    key = unwrap_password(wrapped, [b"another", SECRET])
    assert open_request(sealed, key).der == content


@pytest.mark.parametrize("cipher", list(Cipher))
def test_we_encrypt_openssl_opens(cms: Callable[..., bytes], cipher: Cipher) -> None:
    content = os.urandom(100)
    recipient = wrap_password(bytes(range(cipher.key_length)), SECRET, cipher, os.urandom)
    data = make.envelope(content, cipher=cipher, recipient=recipient)
    assert cms(data, "-decrypt", "-inform", "DER", "-pwri_password", SECRET.decode()) == content
    with pytest.raises(subprocess.CalledProcessError):
        cms(data, "-decrypt", "-inform", "DER", "-pwri_password", "wrong")


def test_whole_exchange_of_an_ec_client() -> None:
    key = make.ec_key()
    cert = make.certificate(key)
    request = build_request(MessageType.PKCS_REQ, "t", b"n", make.csr(key), make.ra(), password=SECRET)
    sealed = parse(finish_request(request, cert, make.sign(key, request.to_sign)))
    assert open_request(sealed, unwrap_password(sealed.envelope.recipient, [SECRET])).challenge == "secret"
    encryption = ReplyEncryption(Cipher.AES128_CBC, KeyTransport.PKCS1_V15, sealed.signer, SECRET)
    reply = build_success(sealed.reply_to, [cert], encryption)
    data = finish_reply(reply, make.ra(), make.sign(make.rsa_key("ra"), reply.to_sign))
    read = parse_reply(data, recipient_ids(cert))
    assert open_reply(read, unwrap_password(read.envelope.recipient, [SECRET])) == ([cert], [])


@pytest.mark.parametrize("passwords", [[], [b"wrong"], [b"wrong", b"too"]])
def test_wrong_passwords_give_a_random_key_and_the_one_answer(passwords: list[bytes]) -> None:
    recipient = wrap_password(bytes(range(16)), SECRET, Cipher.AES128_CBC, os.urandom)
    sealed = parse(ec_request(make.envelope(recipient=recipient)))
    key = unwrap_password(sealed.envelope.recipient, passwords, randomness=lambda size: b"\xaa" * size)
    assert key == b"\xaa" * 16
    with pytest.raises(Refusal) as caught:
        open_request(sealed, key)
    assert caught.value.reason is Reason.UNREADABLE


def test_the_first_password_that_fits_wins_and_all_are_tried() -> None:
    recipient = wrap_password(bytes(range(16)), SECRET, Cipher.AES128_CBC, os.urandom)
    wrapped = parse(ec_request(make.envelope(recipient=recipient))).envelope.recipient
    assert unwrap_password(wrapped, [SECRET, b"old"]) == unwrap_password(wrapped, [b"old", SECRET]) == bytes(range(16))


HMAC_SHA256 = make.algorithm("1.2.840.113549.2.9", make.NULL)


def recipient(
    *,
    salt: bytes = bytes(8),
    iterations: int = 2048,
    prf: bytes = HMAC_SHA256,
    kdf: str = "1.2.840.113549.1.5.12",
    wrap: str = "1.2.840.113549.1.9.16.3.9",
    kek: bytes | None = None,
    length: bytes = b"",
    encrypted: bytes = bytes(32),
) -> bytes:
    parameters = element(0x30, element(0x04, salt), encode(iterations), length, prf)
    kek = make.algorithm("2.16.840.1.101.3.4.1.2", element(0x04, bytes(16))) if kek is None else kek
    return element(
        0xA3,
        b"\x02\x01\x00",
        element(0xA0, encode(OID(kdf)), parameters),
        make.algorithm(wrap, kek),
        element(0x04, encrypted),
    )


def test_the_bent_recipient_is_right_when_nothing_is_bent() -> None:
    for good in ({}, {"iterations": 100_000}, {"salt": bytes(64)}, {"prf": b""}, {"length": b"\x02\x01\x10"}):
        assert isinstance(
            parse(ec_request(make.envelope(recipient=recipient(**good)))).envelope.recipient, PasswordWrappedKey
        )


@pytest.mark.parametrize(
    ("bent", "reason"),
    [
        ({"iterations": 100_001}, Reason.STRUCTURE),
        ({"iterations": 1 << 40}, Reason.STRUCTURE),
        ({"iterations": 0}, Reason.STRUCTURE),
        ({"iterations": -1}, Reason.STRUCTURE),
        ({"salt": bytes(65)}, Reason.STRUCTURE),
        ({"length": b"\x02\x01\x20"}, Reason.STRUCTURE),
        ({"encrypted": bytes(16)}, Reason.STRUCTURE),
        ({"encrypted": bytes(33)}, Reason.STRUCTURE),
        ({"encrypted": bytes(4096)}, Reason.STRUCTURE),
        ({"prf": make.algorithm("1.2.840.113549.2.6", make.NULL)}, Reason.ALGORITHM),
        ({"kdf": "1.3.6.1.4.1.11591.4.11"}, Reason.ALGORITHM),
        ({"wrap": "2.16.840.1.101.3.4.1.5"}, Reason.ALGORITHM),
        ({"kek": make.algorithm("1.2.840.113549.3.7", element(0x04, bytes(8)))}, Reason.ALGORITHM),
        ({"kek": make.NULL}, Reason.ALGORITHM),
    ],
)
def test_parameters_outside_the_limits_are_refused(bent: dict, reason: Reason) -> None:
    with pytest.raises(Refusal) as caught:
        parse(ec_request(make.envelope(recipient=recipient(**bent))))
    assert caught.value.reason is reason
