"""Replies as devices must find them (RFC 8894 section 3.3.2), read by a parser that is not ours."""

from __future__ import annotations

import pytest
from asn1crypto import cms as second
from cryptography.hazmat.primitives.asymmetric import padding

from scep_server.codec.certificate import recipient_ids
from scep_server.codec.messages import (
    build_crl_success,
    build_failure,
    build_pending,
    build_success,
    finish_reply,
)
from scep_server.codec.replies import open_reply, parse_reply
from scep_server.types import (
    Cipher,
    FailInfo,
    KeyTransport,
    PkiStatus,
    ReplyEncryption,
    SealedRequest,
)
from tests.codec import scep_messages as make
from tests.codec.scep_messages import (
    attribute,
    element,
    parse,
    printable,
    scep_attributes,
)


def _reply(unsigned: object) -> second.SignedData:
    data = finish_reply(unsigned, make.ra(), make.sign(make.rsa_key("ra"), unsigned.to_sign, unsigned.digest.value))
    return second.ContentInfo.load(data, strict=True)["content"]


def _attributes(signed: second.SignedData) -> dict[str, list[bytes]]:
    info = signed["signer_infos"][0]
    return {a["type"].dotted: [v.dump() for v in a["values"]] for a in info["signed_attrs"]}


def _sealed() -> SealedRequest:
    return parse(make.request())


def test_failure_has_the_types_of_table_1_and_no_envelope() -> None:
    sealed = _sealed()
    signed = _reply(build_failure(sealed.reply_to, FailInfo.BAD_REQUEST, "x" * 300))
    got = _attributes(signed)
    assert got["2.16.840.1.113733.1.9.2"] == [b"\x13\x013"]
    assert got["2.16.840.1.113733.1.9.3"] == [b"\x13\x012"]
    assert got["2.16.840.1.113733.1.9.4"] == [b"\x13\x012"]
    assert got["2.16.840.1.113733.1.9.6"] == [element(0x04, make.NONCE)]
    assert got["2.16.840.1.113733.1.9.7"] == [printable("tid-1")]
    assert got["1.3.6.1.5.5.7.24.1"] == [element(0x0C, b"x" * 200)]
    assert len(got["2.16.840.1.113733.1.9.5"][0]) == 18
    assert signed["encap_content_info"]["content"].native is None
    assert [c.dump() for c in signed["certificates"]] == [make.ra()]
    info = signed["signer_infos"][0]
    assert info["signature_algorithm"]["algorithm"].native == "rsassa_pkcs1v15"
    assert info["signature_algorithm"]["algorithm"].dotted == make.RSA


def test_pending_has_neither_fail_info_nor_envelope() -> None:
    signed = _reply(build_pending(_sealed().reply_to))
    got = _attributes(signed)
    assert got["2.16.840.1.113733.1.9.3"] == [b"\x13\x013"]
    assert not {"2.16.840.1.113733.1.9.4", "1.3.6.1.5.5.7.24.1"} & set(got)
    assert signed["encap_content_info"]["content"].native is None


def test_sender_nonce_is_fresh_and_recipient_nonce_the_clients() -> None:
    reply_to = _sealed().reply_to
    nonces = {_attributes(_reply(build_pending(reply_to)))["2.16.840.1.113733.1.9.5"][0] for _ in range(20)}
    assert len(nonces) == 20
    assert element(0x04, make.NONCE) not in nonces


def test_transaction_id_comes_back_byte_for_byte() -> None:
    odd = "ünï_c*de@id"
    attributes = scep_attributes(tid=attribute(make.TRANSACTION_ID, element(0x0C, odd.encode())))
    got = _attributes(_reply(build_pending(parse(make.request(attributes=attributes)).reply_to)))
    assert got["2.16.840.1.113733.1.9.7"] == [element(0x13, odd.encode())]


def test_crl_reply_has_the_crl_and_nothing_else() -> None:
    sealed, crl = _sealed(), element(0x30, b"\x02\x01\x01")
    unsigned = build_crl_success(
        sealed.reply_to, crl, ReplyEncryption(Cipher.AES128_CBC, KeyTransport.PKCS1_V15, sealed.signer)
    )
    data = finish_reply(unsigned, make.ra(), make.sign(make.rsa_key("ra"), unsigned.to_sign))
    read = parse_reply(data, recipient_ids(make.device()))
    key = make.rsa_key("device").decrypt(read.envelope.recipient.encrypted_key, padding.PKCS1v15())
    assert open_reply(read, key) == ([], [crl])
    assert read.status is PkiStatus.SUCCESS


def test_reply_for_a_key_that_cannot_decrypt_needs_a_password() -> None:
    key = make.ec_key()
    sealed = parse(make.request(key=key, cert=make.certificate(key)))
    with pytest.raises(ValueError, match="password"):
        build_success(
            sealed.reply_to, [make.ra()], ReplyEncryption(Cipher.AES128_CBC, KeyTransport.PKCS1_V15, sealed.signer)
        )
