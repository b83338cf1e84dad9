"""pkcsPKIEnvelope: CMS EnvelopedData with the one recipient that is ours (RFC 8894 section 3.2.2, RFC 5652 6)"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.modes import CBC

from scep_server.codec.algorithms import (
    CIPHER_OIDS,
    DATA,
    ENVELOPED_DATA,
    TRANSPORT_PADDINGS,
    block_cipher,
    block_size,
    cipher_of,
    identifier,
    transport_identifier,
    transport_of,
)
from scep_server.codec.asn1 import (
    TLV,
    ContentInfo,
    EncryptedContentInfo,
    EnvelopedData,
    KeyTransRecipientInfo,
    PasswordRecipientInfo,
    RecipientInfo,
    decode,
    der,
    element,
    encode,
)
from scep_server.codec.ber import to_der
from scep_server.codec.certificate import named
from scep_server.codec.password import Randomness, read_password_recipient, wrap_password
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


class NoRecipient(Malformed):
    """No RecipientInfo is for us; the caller answers as for a key that does not unwrap (R44)."""


def read_envelope(data: bytes, recipients: Collection[RecipientId], ciphers: Collection[Cipher]) -> Envelope:
    """The envelope in a signed content; BER is accepted. Nothing is decrypted.

    Exactly one recipient must be ours: a KeyTransRecipientInfo whose identifier is in recipients, or a
    PasswordRecipientInfo (N8). Raises NoRecipient when none is, Refusal(ALGORITHM) for a cipher outside ciphers or
    anything not spoken, Malformed for the rest.
    """
    info = decode(ContentInfo, to_der(data))
    if info.content_type != ENVELOPED_DATA:
        raise Malformed("content is no EnvelopedData")
    enveloped = decode(EnvelopedData, info.content)
    encrypted = enveloped.encrypted_content_info
    if encrypted.content_type != DATA:
        raise Malformed("encrypted content is not id-data")
    if encrypted.encrypted_content is None:
        raise Malformed("no encrypted content")
    cipher, iv = cipher_of(encrypted.content_encryption_algorithm)
    if cipher not in ciphers:
        raise Refusal(Reason.ALGORITHM, f"content encryption {cipher.value} is not permitted")

    ours = _our_recipient(enveloped.recipient_infos.as_list(), recipients, cipher.key_length)
    if isinstance(ours, PasswordWrappedKey) and ours.kek_cipher not in ciphers:
        raise Refusal(Reason.ALGORITHM, f"key wrap with {ours.kek_cipher.value} is not permitted")
    return Envelope(recipient=ours, cipher=cipher, iv=iv, ciphertext=encrypted.encrypted_content)


def _our_recipient(
    infos: Sequence[TLV], recipients: Collection[RecipientId], key_length: int
) -> WrappedKey | PasswordWrappedKey:
    if len(infos) > MAX_RECIPIENTS:
        raise Malformed(f"{len(infos)} recipients")
    ours: list[WrappedKey | PasswordWrappedKey] = []
    for recipient_info in infos:
        choice = decode(RecipientInfo, element(0x30, der(recipient_info))).choice
        if isinstance(choice, PasswordRecipientInfo):
            ours.append(read_password_recipient(choice, key_length))
        elif isinstance(choice, KeyTransRecipientInfo):
            recipient = named(choice.rid)
            if recipient in recipients:
                ours.append(_wrapped_key(choice, recipient, key_length))
    if not ours:
        raise NoRecipient("no recipient is ours")
    if len(ours) > 1:
        raise Malformed("more than one recipient is ours")
    return ours[0]


def _wrapped_key(info: KeyTransRecipientInfo, recipient: RecipientId, key_length: int) -> WrappedKey:
    if len(info.encrypted_key) > MAX_ENCRYPTED_KEY:
        raise Malformed("encrypted key longer than any RSA key of ours")
    return WrappedKey(
        recipient=recipient,
        transport=transport_of(info.key_encryption_algorithm),
        encrypted_key=info.encrypted_key,
        key_length=key_length,
    )


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
    encrypted = EncryptedContentInfo(
        content_type=DATA,
        content_encryption_algorithm=identifier(CIPHER_OIDS[cipher], iv),
        encrypted_content=ciphertext,
    )
    # RFC 5652 section 6.1: version 3 with a PasswordRecipientInfo, 2 with a KeyTransRecipientInfo by SKI, else 0.
    version = b"\x02\x01\x03" if recipient_info[0] == 0xA3 else b"\x02\x01\x00"
    enveloped = element(0x30, version, element(0x31, recipient_info), encode(encrypted))
    return element(0x30, _ENVELOPED_DATA_DER, element(0xA0, enveloped))


_ENVELOPED_DATA_DER: Final = bytes.fromhex("06092a864886f70d010703")


def key_trans_recipient(
    content_key: bytes, public_key: RSAPublicKey, issuer: bytes, serial: int, transport: KeyTransport
) -> bytes:
    """KeyTransRecipientInfo by issuer and serial, DER (RFC 5652 section 6.2.1). RSA padding is the library's."""
    encrypted_key = public_key.encrypt(content_key, TRANSPORT_PADDINGS[transport])
    return element(
        0x30,
        b"\x02\x01\x00",
        element(0x30, issuer, encode(serial)),
        _TRANSPORT_IDENTIFIERS[transport],
        element(0x04, encrypted_key),
    )


_TRANSPORT_IDENTIFIERS: Final = {transport: encode(transport_identifier(transport)) for transport in KeyTransport}


def password_recipient(content_key: bytes, password: bytes, cipher: Cipher, randomness: Randomness) -> bytes:
    """PasswordRecipientInfo, DER (RFC 8894 section 3.1)."""
    return wrap_password(content_key, password, cipher, randomness)
