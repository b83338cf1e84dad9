"""Content keys under a password: PasswordRecipientInfo (RFC 5652 section 6.2.4), with the key wrap of RFC 3211.

SCEP uses it for clients whose key can sign but not decrypt; the password is the challenge (RFC 8894 section 3.1).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from scep_server.codec.algorithms import CIPHER_OIDS, HASHES, block_cipher, block_size, cipher_of, identifier
from scep_server.codec.asn1 import (
    NULL,
    OID,
    TLV,
    AlgorithmIdentifier,
    Null,
    PasswordRecipientInfo,
    Pbkdf2Params,
    decode,
    encode,
    tlv,
)
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import Cipher, Digest, PasswordWrappedKey

Randomness = Callable[[int], bytes]
"""How many bytes -> that many random bytes: os.urandom, or a test's own."""

MAX_ITERATIONS: Final = {Digest.SHA1: 100_000, Digest.SHA256: 100_000, Digest.SHA384: 25_000, Digest.SHA512: 25_000}
"""What one unauthenticated message may cost (R50): two derivations, for two valid secrets, stay below 100 ms of CPU."""
MAX_SALT: Final = 64
ITERATIONS: Final = 10_000
"""What we send: the password is a generated secret of 128 bits, so stretching adds little."""
_MAX_ENCRYPTED_KEY: Final = 96

PBKDF2: Final = OID("1.2.840.113549.1.5.12")
PWRI_KEK: Final = OID("1.2.840.113549.1.9.16.3.9")
_PRF_OIDS: Final = {
    Digest.SHA1: OID("1.2.840.113549.2.7"),
    Digest.SHA256: OID("1.2.840.113549.2.9"),
    Digest.SHA384: OID("1.2.840.113549.2.10"),
    Digest.SHA512: OID("1.2.840.113549.2.11"),
}
_PRFS: Final = {oid: digest for digest, oid in _PRF_OIDS.items()}


def read_password_recipient(info: PasswordRecipientInfo, key_length: int) -> PasswordWrappedKey:
    """The wrapped key, its parameters within the limits of R50; key_length is the content cipher's, in bytes.

    Raises Refusal(ALGORITHM) for a derivation, PRF or key wrap that is not spoken, Malformed for the rest.
    """
    derivation, wrap = info.key_derivation_algorithm, info.key_encryption_algorithm
    if derivation is None or derivation.algorithm != PBKDF2 or not isinstance(derivation.parameters, TLV):
        raise Refusal(Reason.ALGORITHM, "password recipient without PBKDF2")
    if wrap.algorithm != PWRI_KEK or not isinstance(wrap.parameters, TLV):
        raise Refusal(Reason.ALGORITHM, f"password key wrap {wrap.algorithm.dotted_string}")
    kek_cipher, iv = cipher_of(decode(AlgorithmIdentifier, wrap.parameters))
    parameters = decode(Pbkdf2Params, derivation.parameters)
    prf = Digest.SHA1 if parameters.prf is None else _prf(parameters.prf)
    if not 1 <= parameters.iteration_count <= MAX_ITERATIONS[prf]:
        raise Malformed("PBKDF2 iteration count out of range")
    if len(parameters.salt) > MAX_SALT:
        raise Malformed(f"PBKDF2 salt longer than {MAX_SALT}")
    if parameters.key_length not in {None, kek_cipher.key_length}:
        raise Malformed("PBKDF2 key length is not the key wrap's")
    size, block = len(info.encrypted_key), block_size(kek_cipher)
    if size % block or not 2 * block <= size <= _MAX_ENCRYPTED_KEY:
        raise Malformed(f"encrypted key of {size} bytes")
    return PasswordWrappedKey(
        salt=parameters.salt,
        iterations=parameters.iteration_count,
        prf=prf,
        kek_cipher=kek_cipher,
        iv=iv,
        encrypted_key=info.encrypted_key,
        key_length=key_length,
    )


def _prf(algorithm: AlgorithmIdentifier) -> Digest:
    prf = _PRFS.get(algorithm.algorithm)
    if prf is None or not (algorithm.parameters is None or isinstance(algorithm.parameters, Null)):
        raise Refusal(Reason.ALGORITHM, f"PBKDF2 PRF {algorithm.algorithm.dotted_string}")
    return prf


def unwrap_password(
    wrapped: PasswordWrappedKey, passwords: Sequence[bytes], *, randomness: Randomness = os.urandom
) -> bytes:
    """The content key under the first password that fits, or as many random bytes: nobody learns which (N12).

    Costs one PBKDF2 for each password, whether it fits or not; callers give at most two.
    """
    key = randomness(wrapped.key_length)
    for password in reversed(passwords):
        found = _unwrap(wrapped, _derive(wrapped, password))
        key = key if found is None else found
    return key


def wrap_password(
    content_key: bytes, password: bytes, cipher: Cipher, randomness: Randomness, *, iterations: int = ITERATIONS
) -> bytes:
    """PasswordRecipientInfo, DER with its tag [3]: PBKDF2 with HMAC-SHA-256, PWRI-KEK with the content's own cipher."""
    wrapped = PasswordWrappedKey(
        salt=randomness(16),
        iterations=iterations,
        prf=Digest.SHA256,
        kek_cipher=cipher,
        iv=randomness(block_size(cipher)),
        encrypted_key=b"",
        key_length=len(content_key),
    )
    encrypted_key = _wrap(wrapped, _derive(wrapped, password), content_key, randomness)
    derivation = Pbkdf2Params(
        salt=wrapped.salt,
        iteration_count=wrapped.iterations,
        key_length=cipher.key_length,
        prf=identifier(_PRF_OIDS[wrapped.prf], NULL),
    )
    info = PasswordRecipientInfo(
        version=0,
        key_derivation_algorithm=identifier(PBKDF2, tlv(encode(derivation))),
        key_encryption_algorithm=identifier(PWRI_KEK, tlv(encode(identifier(CIPHER_OIDS[cipher], wrapped.iv)))),
        encrypted_key=encrypted_key,
    )
    sequence = encode(info)
    return b"\xa3" + sequence[1:]


def _derive(wrapped: PasswordWrappedKey, password: bytes) -> bytes:
    kdf = PBKDF2HMAC(HASHES[wrapped.prf], wrapped.kek_cipher.key_length, wrapped.salt, wrapped.iterations)
    return kdf.derive(password)


def _wrap(wrapped: PasswordWrappedKey, kek: bytes, content_key: bytes, randomness: Randomness) -> bytes:
    """RFC 3211 section 2.3.1: count, check value, key, random padding; CBC twice, the second goes on from the first."""
    block = block_size(wrapped.kek_cipher)
    check = bytes(octet ^ 0xFF for octet in content_key[:3])
    formatted = bytes((len(content_key),)) + check + content_key
    padding = max(2 * block - len(formatted), -len(formatted) % block)
    encryptor = BlockCipher(block_cipher(wrapped.kek_cipher, kek), CBC(wrapped.iv)).encryptor()
    return encryptor.update(encryptor.update(formatted + randomness(padding)))


def _unwrap(wrapped: PasswordWrappedKey, kek: bytes) -> bytes | None:
    """RFC 3211 section 2.3.2; None when the check value says that this is not the key."""
    algorithm, block = block_cipher(wrapped.kek_cipher, kek), block_size(wrapped.kek_cipher)
    outer = wrapped.encrypted_key
    # The last block's IV is the block before it; decrypted, it is the IV that the second encryption began with.
    last = BlockCipher(algorithm, CBC(outer[-2 * block : -block])).decryptor().update(outer[-block:])
    inner = BlockCipher(algorithm, CBC(last)).decryptor().update(outer)
    formatted = BlockCipher(algorithm, CBC(wrapped.iv)).decryptor().update(inner)
    fits = formatted[0] == wrapped.key_length and wrapped.key_length <= len(formatted) - 4
    for check, octet in zip(formatted[1:4], formatted[4:7], strict=True):
        fits &= check ^ octet == 0xFF
    return formatted[4 : 4 + wrapped.key_length] if fits else None
