"""The SCEP recipient's private key in memory (interfaces.RaKey): unwraps requests, signs replies, issues nothing."""

from __future__ import annotations

import os
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from scep_server.ca.tbs import read_tbs, tbs_of
from scep_server.errors import ConfigurationError
from scep_server.types import Certificate, Digest, KeyTransport, WrappedKey

_HASHES: Final[dict[Digest, hashes.HashAlgorithm]] = {
    Digest.SHA1: hashes.SHA1(),  # noqa: S303 - mirrors a request of an integration that allows SHA-1 (R4)
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}
_PKCS1_V15 = padding.PKCS1v15()


def _oaep(algorithm: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(algorithm), algorithm, None)


_TRANSPORTS: Final[dict[KeyTransport, padding.AsymmetricPadding]] = {
    KeyTransport.PKCS1_V15: _PKCS1_V15,
    KeyTransport.OAEP_SHA1: _oaep(hashes.SHA1()),  # noqa: S303 - OAEP's default hash, safe in this use (RFC 8017)
    KeyTransport.OAEP_SHA256: _oaep(hashes.SHA256()),
}


class SoftwareRaKey:
    """RSA key and certificate that SCEP messages are encrypted to and answered with.

    The key was validated when it was loaded. ConfigurationError when it does not belong to the certificate.
    """

    def __init__(self, key: rsa.RSAPrivateKey, certificate: Certificate) -> None:
        numbers = key.public_key().public_numbers()
        if _modulus(certificate) != numbers.n:
            raise ConfigurationError("the RA key does not belong to the RA certificate")
        self.certificate = certificate
        self._key = key
        self._modulus = numbers.n
        self._modulus_length = (key.key_size + 7) // 8
        # A ciphertext of a valid size that decrypts to nothing: what is worked on instead of an impossible one.
        self._stand_in = pow(2, numbers.e, numbers.n).to_bytes(self._modulus_length, "big")

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Blocking: the content-encryption key, or as many random bytes when anything is wrong (N12, RFC 3218).

        Every input costs one private-key operation. PKCS#1 v1.5 padding faults are not even visible here: OpenSSL
        answers them with a pseudo-random plaintext (implicit rejection), whose length or content then fits nothing.
        """
        substitute = os.urandom(wrapped.key_length)
        encrypted_key = wrapped.encrypted_key
        possible = len(encrypted_key) == self._modulus_length and int.from_bytes(encrypted_key, "big") < self._modulus
        try:
            content_key = self._key.decrypt(
                encrypted_key if possible else self._stand_in, _TRANSPORTS[wrapped.transport]
            )
        except ValueError:
            return substitute
        return content_key if possible and len(content_key) == wrapped.key_length else substitute

    def sign(self, data: bytes, digest: Digest) -> bytes:
        """Blocking: RSA PKCS#1 v1.5 signature over data."""
        return self._key.sign(data, _PKCS1_V15, _HASHES[digest])


def _modulus(certificate: Certificate) -> int:
    public_key = load_der_public_key(read_tbs(tbs_of(certificate.der)).spki)
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise ConfigurationError("the RA certificate has no RSA key; SCEP messages cannot be encrypted to it")
    return public_key.public_numbers().n
