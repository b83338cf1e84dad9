"""The client's half of a request: the server's tables in the other direction (RFC 8894 sections 3.3 and 4)."""

from __future__ import annotations

import os
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from scep_server.codec.algorithms import block_size
from scep_server.codec.asn1 import element, encode
from scep_server.codec.attributes import MESSAGE_TYPE, SENDER_NONCE, TRANSACTION_ID
from scep_server.codec.certificate import load_public_key, read_tbs
from scep_server.codec.cms import Unsigned, finish, unsigned
from scep_server.codec.envelope import encrypt, key_trans_recipient, password_recipient
from scep_server.codec.password import Randomness
from scep_server.errors import Malformed
from scep_server.types import Cipher, Digest, KeyTransport, MessageType

_MESSAGE_TYPES: Final = {kind: MESSAGE_TYPE(b"%d" % kind) for kind in MessageType}


def build_request(
    message_type: MessageType,
    transaction_id: str,
    nonce: bytes,
    content: bytes,
    recipient_certificate: bytes,
    *,
    digest: Digest = Digest.SHA256,
    cipher: Cipher = Cipher.AES128_CBC,
    transport: KeyTransport = KeyTransport.PKCS1_V15,
    password: bytes | None = None,
    randomness: Randomness = os.urandom,
) -> Unsigned:
    """A request around content: a CSR, `issuer_and_subject` or `issuer_and_serial`, in DER.

    nonce: 16 fresh bytes, to be found again in the reply. recipient_certificate (DER) is the CA's or RA's; with a
    password the content key goes under it instead (clients whose own key cannot decrypt, RFC 8894 section 3.1).
    Raises Malformed when recipient_certificate has no RSA key, Refusal(KEY) when its size is out of range.
    """
    content_key = randomness(cipher.key_length)
    if password is not None:
        recipient = password_recipient(content_key, password, cipher, randomness)
    else:
        tbs = read_tbs(recipient_certificate)
        key = load_public_key(tbs.spki)
        if not isinstance(key, RSAPublicKey):
            raise Malformed("the recipient's key cannot decrypt: it is not RSA")
        recipient = key_trans_recipient(content_key, key, tbs.issuer, tbs.serial_number, transport)
    envelope = encrypt(content, cipher, content_key, recipient, randomness(block_size(cipher)))
    attributes = (_MESSAGE_TYPES[message_type], TRANSACTION_ID(transaction_id.encode()), SENDER_NONCE(nonce))
    return unsigned(envelope, digest, attributes)


def finish_request(request: Unsigned, signer_certificate: bytes, signature: bytes) -> bytes:
    """The pkiMessage in DER. signer_certificate (DER): the self-signed one, or for a renewal the one to be renewed.

    signature over request.to_sign with request.digest: RSA PKCS#1 v1.5, or ECDSA in DER.
    """
    return finish(request, signer_certificate, signature)


def issuer_and_subject(issuer: bytes, subject: bytes) -> bytes:
    """Content of a CertPoll: the CA's name and the name asked for, both DER (RFC 8894 section 3.3.3)."""
    return element(0x30, issuer, subject)


def issuer_and_serial(issuer: bytes, serial: int) -> bytes:
    """Content of a GetCert or GetCRL (RFC 8894 section 3.3.4)."""
    return element(0x30, issuer, encode(serial))
