"""What a client may believe of a reply, and of a GetCACert answer."""

from __future__ import annotations

import pytest

from scep_server.codec.certificate import recipient_ids
from scep_server.codec.cms import degenerate
from scep_server.codec.envelope import encrypt, key_trans_recipient
from scep_server.codec.messages import build_failure, build_pending, finish_reply
from scep_server.codec.replies import Reply, open_reply, parse_ca_certs, parse_reply
from scep_server.codec.requests import build_request
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import Cipher, Digest, FailInfo, KeyTransport, MessageType, PkiStatus, ReplyTo
from tests.codec import scep_messages as make
from tests.codec.scep_messages import attribute, element, printable

PKI_STATUS = "2.16.840.1.113733.1.9.3"
FAIL_INFO = "2.16.840.1.113733.1.9.4"
RECIPIENT_NONCE = "2.16.840.1.113733.1.9.6"
REPLY_TO = ReplyTo("tid-1", make.NONCE, Digest.SHA256)


def cert_rep(status: str | None, content: bytes | None = None, message_type: str = "3", **more: bytes | None) -> bytes:
    """A CertRep of the RA without a senderNonce, as the RFC's own sample is; more bends or adds attributes."""
    attributes = make.scep_attributes(
        message_type,
        nonce=None,
        **{
            "status": None if status is None else attribute(PKI_STATUS, printable(status)),
            "recipient_nonce": attribute(RECIPIENT_NONCE, element(0x04, make.NONCE)),
            **more,
        },
    )
    return make.request(content, attributes, key=make.rsa_key("ra"), cert=make.ra(), absent=content is None)


def success() -> bytes:
    key = bytes(16)
    recipient = key_trans_recipient(
        key, make.rsa_key("device").public_key(), make.name("device").public_bytes(), 1, KeyTransport.PKCS1_V15
    )
    return encrypt(degenerate([make.device()]), Cipher.AES128_CBC, key, recipient, bytes(16))


def read(data: bytes) -> Reply:
    return parse_reply(data, recipient_ids(make.device()))


def test_success_without_a_sender_nonce() -> None:
    reply = read(cert_rep("0", success()))
    assert (reply.status, reply.sender_nonce, reply.fail_info) == (PkiStatus.SUCCESS, None, None)
    assert reply.signer.der == make.ra()
    assert open_reply(reply, bytes(16)) == ([make.device()], [])
    with pytest.raises(Malformed):
        open_reply(reply, b"x" * 16)


def test_failure_and_pending() -> None:
    for unsigned, status, fail_info, text in (
        (build_failure(REPLY_TO, FailInfo.BAD_TIME, "late"), PkiStatus.FAILURE, FailInfo.BAD_TIME, "late"),
        (build_failure(REPLY_TO, FailInfo.BAD_ALG), PkiStatus.FAILURE, FailInfo.BAD_ALG, ""),
        (build_pending(REPLY_TO), PkiStatus.PENDING, None, ""),
    ):
        reply = read(finish_reply(unsigned, make.ra(), make.sign(make.rsa_key("ra"), unsigned.to_sign)))
        assert (reply.status, reply.fail_info, reply.fail_info_text) == (status, fail_info, text)
        assert reply.answers("tid-1", make.NONCE)
        assert len(reply.sender_nonce) == 16
        with pytest.raises(ValueError, match="no content"):
            open_reply(reply, bytes(16))


def test_signer_known_from_get_ca_cert() -> None:
    attributes = make.scep_attributes(
        "3",
        status=attribute(PKI_STATUS, printable("3")),
        recipient_nonce=attribute(RECIPIENT_NONCE, element(0x04, make.NONCE)),
    )
    data = make.request(None, attributes, key=make.rsa_key("ra"), cert=make.ra(), bag=[], absent=True)
    assert parse_reply(data, known=[make.device(), make.ra()]).signer.der == make.ra()
    with pytest.raises(Malformed):
        parse_reply(data, known=[make.device()])


@pytest.mark.parametrize(
    "build",
    [
        lambda: cert_rep("3", message_type="19"),
        lambda: cert_rep("1"),
        lambda: cert_rep(None),
        lambda: cert_rep("0"),
        lambda: cert_rep("3", success()),
        lambda: cert_rep("2"),
        lambda: cert_rep("2", fail=attribute(FAIL_INFO, printable("9"))),
        lambda: cert_rep("2", success(), fail=attribute(FAIL_INFO, printable("2"))),
        lambda: cert_rep("3", recipient_nonce=None),
        lambda: cert_rep("3", tid=None),
    ],
)
def test_what_is_no_cert_rep(build: object) -> None:
    with pytest.raises(Malformed):
        read(build())


def test_a_reply_with_a_bad_signature_is_refused() -> None:
    unsigned = build_pending(REPLY_TO)
    with pytest.raises(Refusal) as caught:
        read(finish_reply(unsigned, make.ra(), make.sign(make.rsa_key("device"), unsigned.to_sign)))
    assert caught.value.reason is Reason.SIGNATURE


def test_ca_certs_single_and_chain() -> None:
    assert parse_ca_certs(make.ra()) == [make.ra()]
    assert parse_ca_certs(degenerate([make.ra(), make.device()])) == [make.ra(), make.device()]
    for bad in (b"", b"<html>", degenerate([]), make.envelope()):
        with pytest.raises(Malformed):
            parse_ca_certs(bad)


def test_a_request_for_a_ca_that_cannot_decrypt_is_refused() -> None:
    with pytest.raises(Malformed, match="not RSA"):
        build_request(MessageType.PKCS_REQ, "t", b"n", b"", make.certificate(make.ec_key()))
