"""Algorithm identifiers of SCEP messages, one table for each kind, read in both directions.

What is not in a table is refused with badAlg: MD5 and single DES are in none (RFC 8894 section 2.9).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from scep_server.codec.asn1 import (
    NULL,
    OID,
    TLV,
    AlgorithmIdentifier,
    Null,
    RsaesOaepParams,
    decode,
    encode,
    tlv,
)
from scep_server.errors import Malformed, Reason, Refusal
from scep_server.types import Cipher, Digest, KeyTransport

DATA: Final = OID("1.2.840.113549.1.7.1")
SIGNED_DATA: Final = OID("1.2.840.113549.1.7.2")
ENVELOPED_DATA: Final = OID("1.2.840.113549.1.7.3")

RSA_ENCRYPTION: Final = OID("1.2.840.113549.1.1.1")
RSAES_OAEP: Final = OID("1.2.840.113549.1.1.7")
MGF1_OID: Final = OID("1.2.840.113549.1.1.8")
P_SPECIFIED: Final = OID("1.2.840.113549.1.1.9")
EC_PUBLIC_KEY: Final = OID("1.2.840.10045.2.1")

DIGEST_OIDS: Final = {
    Digest.SHA1: OID("1.3.14.3.2.26"),
    Digest.SHA256: OID("2.16.840.1.101.3.4.2.1"),
    Digest.SHA384: OID("2.16.840.1.101.3.4.2.2"),
    Digest.SHA512: OID("2.16.840.1.101.3.4.2.3"),
}
_DIGESTS: Final = {oid: digest for digest, oid in DIGEST_OIDS.items()}

HASHES: Final[dict[Digest, hashes.HashAlgorithm]] = {
    Digest.SHA1: hashes.SHA1(),  # noqa: S303  only where an integration allows it (R2)
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}

_RSA_SIGNATURES: Final[dict[OID, Digest | None]] = {
    RSA_ENCRYPTION: None,
    OID("1.2.840.113549.1.1.5"): Digest.SHA1,
    OID("1.2.840.113549.1.1.11"): Digest.SHA256,
    OID("1.2.840.113549.1.1.12"): Digest.SHA384,
    OID("1.2.840.113549.1.1.13"): Digest.SHA512,
}
"""None: the hash is the one of digestAlgorithm (T7)."""

EC_SIGNATURE_OIDS: Final = {
    Digest.SHA1: OID("1.2.840.10045.4.1"),
    Digest.SHA256: OID("1.2.840.10045.4.3.2"),
    Digest.SHA384: OID("1.2.840.10045.4.3.3"),
    Digest.SHA512: OID("1.2.840.10045.4.3.4"),
}
_EC_SIGNATURES: Final[dict[OID, Digest | None]] = {
    EC_PUBLIC_KEY: None,
    **{oid: digest for digest, oid in EC_SIGNATURE_OIDS.items()},
}

CIPHER_OIDS: Final = {
    Cipher.AES128_CBC: OID("2.16.840.1.101.3.4.1.2"),
    Cipher.AES192_CBC: OID("2.16.840.1.101.3.4.1.22"),
    Cipher.AES256_CBC: OID("2.16.840.1.101.3.4.1.42"),
    Cipher.DES3_CBC: OID("1.2.840.113549.3.7"),
}
_CIPHERS: Final = {oid: cipher for cipher, oid in CIPHER_OIDS.items()}


def block_size(cipher: Cipher) -> int:
    """Block and IV length in bytes."""
    return 8 if cipher is Cipher.DES3_CBC else 16


def block_cipher(cipher: Cipher, key: bytes) -> AES | TripleDES:
    """The keyed block cipher; key has cipher.key_length bytes."""
    return TripleDES(key) if cipher is Cipher.DES3_CBC else AES(key)


def _no_parameters(algorithm: AlgorithmIdentifier) -> bool:
    return algorithm.parameters is None or isinstance(algorithm.parameters, Null)


def digest_of(algorithm: AlgorithmIdentifier) -> Digest | None:
    """The digest of a DigestAlgorithmIdentifier, parameters NULL or absent; None for any that is not spoken here."""
    return _DIGESTS.get(algorithm.algorithm) if _no_parameters(algorithm) else None


# A handful of identifiers is in all messages, each always the same bytes: it is decoded once. The bound is for others.
_remembered = lru_cache(maxsize=32)


@_remembered
def digest_named(identifier: bytes) -> Digest | None:
    """`digest_of` an AlgorithmIdentifier in DER. Raises Malformed."""
    return digest_of(decode(AlgorithmIdentifier, identifier))


@_remembered
def signature_digest(identifier: bytes, digest: Digest, *, rsa: bool) -> Digest:
    """The hash a SignatureAlgorithmIdentifier (DER) means beside a digestAlgorithm, for an RSA or an EC key (T7).

    Raises Refusal(ALGORITHM) for everything else: PSS, Ed25519, an RSA identifier with an EC key, odd parameters; and
    Malformed for what is no AlgorithmIdentifier.
    """
    algorithm = decode(AlgorithmIdentifier, identifier)
    table = _RSA_SIGNATURES if rsa else _EC_SIGNATURES
    if algorithm.algorithm not in table or not _no_parameters(algorithm):
        raise Refusal(Reason.ALGORITHM, f"signature algorithm {algorithm.algorithm.dotted_string}")
    return table[algorithm.algorithm] or digest


def cipher_of(algorithm: AlgorithmIdentifier) -> tuple[Cipher, bytes]:
    """Cipher and IV of a ContentEncryptionAlgorithmIdentifier. Raises Refusal(ALGORITHM)."""
    cipher = _CIPHERS.get(algorithm.algorithm)
    iv = algorithm.parameters
    if cipher is None or not isinstance(iv, bytes) or len(iv) != block_size(cipher):
        raise Refusal(Reason.ALGORITHM, f"content encryption {algorithm.algorithm.dotted_string}")
    return cipher, iv


def _up_to_iv(cipher: Cipher) -> bytes:
    """What stands before the IV in the DER of a ContentEncryptionAlgorithmIdentifier."""
    size = block_size(cipher)
    return encode(AlgorithmIdentifier(algorithm=CIPHER_OIDS[cipher], parameters=bytes(size)))[:-size]


_UP_TO_IV: Final = {cipher: _up_to_iv(cipher) for cipher in Cipher}
_CIPHERS_UP_TO_IV: Final = {prefix: cipher for cipher, prefix in _UP_TO_IV.items()}


def cipher_named(identifier: bytes) -> tuple[Cipher, bytes]:
    """`cipher_of` an AlgorithmIdentifier in DER. Raises Refusal(ALGORITHM) and Malformed."""
    for size in (16, 8):
        cipher = _CIPHERS_UP_TO_IV.get(identifier[:-size])
        if cipher is not None:
            return cipher, identifier[-size:]
    return cipher_of(decode(AlgorithmIdentifier, identifier))


def content_encryption(cipher: Cipher, iv: bytes) -> bytes:
    """ContentEncryptionAlgorithmIdentifier in DER; iv has the cipher's block size."""
    return _UP_TO_IV[cipher] + iv


# --- key transport ----------------------------------------------------------------------------------------------------

_OAEP_HASHES: Final = {KeyTransport.OAEP_SHA1: Digest.SHA1, KeyTransport.OAEP_SHA256: Digest.SHA256}


def _oaep(digest: Digest) -> OAEP:
    return OAEP(MGF1(HASHES[digest]), HASHES[digest], None)


TRANSPORT_PADDINGS: Final[dict[KeyTransport, AsymmetricPadding]] = {
    KeyTransport.PKCS1_V15: PKCS1v15(),
    **{transport: _oaep(digest) for transport, digest in _OAEP_HASHES.items()},
}


def identifier(algorithm: OID, parameters: Null | bytes | TLV | None = None) -> AlgorithmIdentifier:
    """An AlgorithmIdentifier."""
    return AlgorithmIdentifier(algorithm=algorithm, parameters=parameters)


def transport_identifier(transport: KeyTransport) -> AlgorithmIdentifier:
    """KeyEncryptionAlgorithmIdentifier as we send it; DER leaves the defaults of OAEP with SHA-1 out."""
    if transport is KeyTransport.PKCS1_V15:
        return identifier(RSA_ENCRYPTION, NULL)
    if transport is KeyTransport.OAEP_SHA1:
        parameters = RsaesOaepParams(hash_algorithm=None, mask_gen_algorithm=None, p_source_algorithm=None)
    else:
        sha256 = identifier(DIGEST_OIDS[Digest.SHA256], NULL)
        parameters = RsaesOaepParams(
            hash_algorithm=sha256,
            mask_gen_algorithm=identifier(MGF1_OID, tlv(encode(sha256))),
            p_source_algorithm=None,
        )
    return identifier(RSAES_OAEP, tlv(encode(parameters)))


@_remembered
def transport_of(identifier: bytes) -> KeyTransport:
    """Key transport of a KeyEncryptionAlgorithmIdentifier in DER (RFC 8017 appendix A.2.1).

    Raises Refusal(ALGORITHM), and Malformed for what is no AlgorithmIdentifier.
    """
    algorithm = decode(AlgorithmIdentifier, identifier)
    if algorithm.algorithm == RSA_ENCRYPTION and _no_parameters(algorithm):
        return KeyTransport.PKCS1_V15
    if algorithm.algorithm == RSAES_OAEP:
        try:
            return _oaep_transport(algorithm.parameters)
        except Malformed as error:
            raise Refusal(Reason.ALGORITHM, f"OAEP parameters: {error}") from None
    raise Refusal(Reason.ALGORITHM, f"key transport {algorithm.algorithm.dotted_string}")


def _oaep_transport(parameters: object) -> KeyTransport:
    """OAEP with one hash for both uses and the empty label; anything else is Malformed."""
    if not isinstance(parameters, TLV):
        raise Malformed("no RSAES-OAEP-params")
    oaep = decode(RsaesOaepParams, parameters)
    label = oaep.p_source_algorithm
    if label is not None and (label.algorithm != P_SPECIFIED or label.parameters != b""):
        raise Malformed("a label")
    main = digest_of(oaep.hash_algorithm) if oaep.hash_algorithm else Digest.SHA1
    mask = Digest.SHA1
    if oaep.mask_gen_algorithm:
        generator = oaep.mask_gen_algorithm
        if generator.algorithm != MGF1_OID or not isinstance(generator.parameters, TLV):
            raise Malformed("not MGF1")
        mask = digest_of(decode(AlgorithmIdentifier, generator.parameters)) or Digest.SHA512
    for transport, digest in _OAEP_HASHES.items():
        if main is digest and mask is digest:
            return transport
    raise Malformed("hashes other than SHA-1 or SHA-256 for both")
