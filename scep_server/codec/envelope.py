"""pkcsPKIEnvelope: CMS EnvelopedData with the one recipient that is ours (RFC 8894 section 3.2.2, RFC 5652 6)"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.modes import CBC

from scep_server.codec import asn1
from scep_server.codec.algorithms import (
    DATA,
    ENVELOPED_DATA,
    TRANSPORT_PADDINGS,
    block_cipher,
    block_size,
    cipher_named,
    content_encryption,
    transport_identifier,
    transport_of,
)
from scep_server.codec.asn1 import PasswordRecipientInfo, decode, element, encode
from scep_server.codec.ber import to_der
from scep_server.codec.password import Randomness, read_password_recipient, wrap_password
from scep_server.codec.walk import SEQUENCE, Place, explicit, fields, integer, places, shape, whole
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import (
    Cipher,
    Envelope,
    KeyTransport,
    PasswordWrappedKey,
    RecipientId,
    WrappedKey,
)

MAX_RECIPIENTS: Final = 10
MAX_ENCRYPTED_KEY: Final = 512
"""Bytes: RSA-4096 (N9)."""


_ID_DATA: Final = encode(DATA)
_ID_ENVELOPED_DATA: Final = encode(ENVELOPED_DATA)
_CONTENT_INFO: Final = shape(rb"\x06\xa0")
_ENVELOPED_DATA: Final = shape(rb"\x02\xa0?\x31\x30\xa1?")
_ENCRYPTED_CONTENT: Final = shape(rb"\x06\x30\x80?")
_KEY_TRANS: Final = shape(rb"\x02[\x30\x80]\x30\x04")
_ISSUER_AND_SERIAL: Final = shape(rb"\x30\x02")


class NoRecipient(Malformed):
    """No RecipientInfo is for us; the caller answers as for a key that does not unwrap (R44)."""


def read_envelope(data: bytes, recipients: Collection[RecipientId], ciphers: Collection[Cipher]) -> Envelope:
    """The envelope in a signed content; BER is accepted. Nothing is decrypted.

    Exactly one recipient must be ours: a KeyTransRecipientInfo whose identifier is in recipients, or a
    PasswordRecipientInfo (N8). Raises NoRecipient when none is, Refusal(ALGORITHM) for a cipher outside ciphers or
    anything not spoken, Malformed for the rest.
    """
    der = to_der(data)
    content_type, content = fields(der, whole(der, SEQUENCE, "ContentInfo"), _CONTENT_INFO)
    if der[content_type[1] : content_type[3]] != _ID_ENVELOPED_DATA:
        raise Malformed("content is no EnvelopedData")
    parts = fields(der, explicit(der, content, SEQUENCE), _ENVELOPED_DATA)
    infos, encrypted = parts[2:4] if parts[1][0] == 0xA0 else parts[1:3]
    content_type, algorithm, *rest = fields(der, encrypted, _ENCRYPTED_CONTENT)
    if der[content_type[1] : content_type[3]] != _ID_DATA:
        raise Malformed("encrypted content is not id-data")
    if not rest:
        raise Malformed("no encrypted content")
    cipher, iv = cipher_named(der[algorithm[1] : algorithm[3]])
    if cipher not in ciphers:
        raise Refusal(Reason.ALGORITHM, f"content encryption {cipher.value} is not permitted")

    ours = _our_recipient(der, infos, recipients, cipher.key_length)
    if isinstance(ours, PasswordWrappedKey) and ours.kek_cipher not in ciphers:
        raise Refusal(Reason.ALGORITHM, f"key wrap with {ours.kek_cipher.value} is not permitted")
    return Envelope(recipient=ours, cipher=cipher, iv=iv, ciphertext=der[rest[0][2] : rest[0][3]])


def _our_recipient(
    data: bytes, around: Place, recipients: Collection[RecipientId], key_length: int
) -> WrappedKey | PasswordWrappedKey:
    infos = places(data, around[2], around[3])
    if len(infos) > MAX_RECIPIENTS:
        raise Malformed(f"{len(infos)} recipients")
    ours: list[WrappedKey | PasswordWrappedKey] = []
    for info in infos:
        if info[0] == SEQUENCE:
            key = _wrapped_key(data, info, recipients, key_length)
            if key is not None:
                ours.append(key)
        elif info[0] == 0xA3:
            choice = decode(PasswordRecipientInfo, element(SEQUENCE, data[info[2] : info[3]]))
            ours.append(read_password_recipient(choice, key_length))
    if not ours:
        raise NoRecipient("no recipient is ours")
    if len(ours) > 1:
        raise Malformed("more than one recipient is ours")
    return ours[0]


def _wrapped_key(data: bytes, info: Place, recipients: Collection[RecipientId], key_length: int) -> WrappedKey | None:
    """What a KeyTransRecipientInfo (RFC 5652 section 6.2.1) carries for us; None when it is for somebody else."""
    _, rid, algorithm, key = fields(data, info, _KEY_TRANS)
    recipient = _named(data, rid)
    if recipient not in recipients:
        return None
    if key[3] - key[2] > MAX_ENCRYPTED_KEY:
        raise Malformed("encrypted key longer than any RSA key of ours")
    return WrappedKey(
        recipient=recipient,
        transport=transport_of(data[algorithm[1] : algorithm[3]]),
        encrypted_key=data[key[2] : key[3]],
        key_length=key_length,
    )


def _named(data: bytes, rid: Place) -> RecipientId:
    """A RecipientIdentifier as a value: issuer and serial, or SubjectKeyIdentifier."""
    if rid[0] != SEQUENCE:
        return RecipientId(ski=data[rid[2] : rid[3]])
    issuer, serial = fields(data, rid, _ISSUER_AND_SERIAL)
    return RecipientId(issuer=data[issuer[1] : issuer[3]], serial=integer(data, serial))


def decrypt(envelope: Envelope, content_key: bytes) -> tuple[bytes, bool]:
    """The decrypted content, and whether length, key and padding were right (RFC 5652 section 6.3).

    When they were not, the bytes are what came out, so that a caller can do the same work on them as on a content
    (N12). Never raises.
    """
    cipher = envelope.cipher
    block = block_size(cipher)
    whole = len(envelope.ciphertext) // block * block
    right = whole == len(envelope.ciphertext) and whole > 0
    if len(content_key) != cipher.key_length:
        right, content_key = False, bytes(cipher.key_length)
    decryptor = BlockCipher(block_cipher(cipher, content_key), CBC(envelope.iv)).decryptor()
    padded = decryptor.update(envelope.ciphertext[:whole])
    count = padded[-1] if padded else 0
    right &= 1 <= count <= block and padded[-count:] == bytes((count,)) * count
    return (padded[:-count] if right else padded), right


def encrypt(content: bytes, cipher: Cipher, content_key: bytes, recipient_info: bytes, iv: bytes) -> bytes:
    """ContentInfo with an EnvelopedData for the one RecipientInfo given as DER."""
    block = block_size(cipher)
    count = block - len(content) % block
    encryptor = BlockCipher(block_cipher(cipher, content_key), CBC(iv)).encryptor()
    ciphertext = encryptor.update(content + bytes((count,)) * count)
    # RFC 5652 section 6.1: version 3 with a PasswordRecipientInfo, 2 with a KeyTransRecipientInfo by SKI, else 0.
    version = b"\x02\x01\x03" if recipient_info[0] == 0xA3 else b"\x02\x01\x00"
    encrypted = element(0x30, _ID_DATA, content_encryption(cipher, iv), element(0x80, ciphertext))
    enveloped = element(0x30, version, element(0x31, recipient_info), encrypted)
    return element(0x30, _ID_ENVELOPED_DATA, element(0xA0, enveloped))


def key_trans_recipient(
    content_key: bytes, public_key: RSAPublicKey, issuer: bytes, serial: int, transport: KeyTransport
) -> bytes:
    """KeyTransRecipientInfo by issuer and serial, DER (RFC 5652 section 6.2.1). RSA padding is the library's."""
    encrypted_key = public_key.encrypt(content_key, TRANSPORT_PADDINGS[transport])
    return element(
        0x30,
        b"\x02\x01\x00",
        element(0x30, issuer, asn1.integer(serial)),
        _TRANSPORT_IDENTIFIERS[transport],
        element(0x04, encrypted_key),
    )


_TRANSPORT_IDENTIFIERS: Final = {transport: encode(transport_identifier(transport)) for transport in KeyTransport}


def password_recipient(content_key: bytes, password: bytes, cipher: Cipher, randomness: Randomness) -> bytes:
    """PasswordRecipientInfo, DER (RFC 8894 section 3.1)."""
    return wrap_password(content_key, password, cipher, randomness)
