"""Private keys: generation, and encrypted PKCS#8 in files of mode 0600 (RFC 5958, PBES2 of RFC 8018)."""

from __future__ import annotations

import base64
import enum
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from scep_server.ca import der
from scep_server.ca.files import create_private_file, read_private_file
from scep_server.errors import ConfigurationError

CaPrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

KDF_ITERATIONS = 600_000
"""PBKDF2-HMAC-SHA256 rounds: about 0.2 s a key at start, and 300 times OpenSSL's default for whoever guesses."""

MINIMUM_RSA_BITS = 2048

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("300c06082a864886f70d02090500")
_AES256_CBC = bytes.fromhex("060960864801650304012a")


class KeyType(enum.StrEnum):
    """Key types a CA can be made with; RA keys are RSA, because SCEP encrypts to them."""

    RSA2048 = "rsa2048"
    RSA3072 = "rsa3072"
    RSA4096 = "rsa4096"
    P256 = "p256"
    P384 = "p384"

    @property
    def is_rsa(self) -> bool:
        """True where the key can decrypt."""
        return self.value.startswith("rsa")

    @classmethod
    def named(cls, name: str) -> KeyType:
        """The type of this name. ConfigurationError names the possible ones."""
        try:
            return cls(name)
        except ValueError:
            raise ConfigurationError(f"key type {name!r} is not one of {', '.join(cls)}") from None

    def generate(self) -> CaPrivateKey:
        """A fresh key."""
        if self.is_rsa:
            return rsa.generate_private_key(public_exponent=65537, key_size=int(self.value.removeprefix("rsa")))
        return ec.generate_private_key(ec.SECP256R1() if self is KeyType.P256 else ec.SECP384R1())


def save_private_key(path: Path, key: CaPrivateKey, passphrase: bytes) -> None:
    """Create the file with the key, encrypted. ConfigurationError when the file exists."""
    create_private_file(path, encrypt_private_key(key, passphrase))


def load_private_key(path: Path, passphrase: bytes) -> CaPrivateKey:
    """The key of a file made by save_private_key, fully validated once.

    ConfigurationError when the file is missing, open to others, not encrypted, or the passphrase is wrong.
    """
    return parse_private_key(read_private_file(path), passphrase, str(path))


def parse_private_key(pem: bytes, passphrase: bytes | None, source: str) -> CaPrivateKey:
    """An RSA or EC key of PEM; passphrase None for a plain one. ConfigurationError names source, never content."""
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except TypeError:
        # cryptography's answer to a passphrase for a plain key, or to none for an encrypted one.
        state = "is encrypted and no passphrase was given" if passphrase is None else "is not encrypted"
        raise ConfigurationError(f"the private key in {source} {state}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"the private key in {source} cannot be read: the passphrase is wrong, or it is no PEM private key"
        ) from None
    return check_ca_key(key, source)


def check_ca_key(key: object, source: str) -> CaPrivateKey:
    """The key again: RSA of 2048 bits or more, or EC on P-256, P-384 or P-521. ConfigurationError otherwise (K13)."""
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size >= MINIMUM_RSA_BITS:
            return key
        raise ConfigurationError(f"the RSA key in {source} has {key.key_size} bits, {MINIMUM_RSA_BITS} are the least")
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in {"secp256r1", "secp384r1", "secp521r1"}:
        return key
    raise ConfigurationError(f"the private key in {source} is neither RSA nor EC on P-256, P-384 or P-521")


def encrypt_private_key(key: CaPrivateKey, passphrase: bytes, iterations: int = KDF_ITERATIONS) -> bytes:
    """EncryptedPrivateKeyInfo as PEM: PBES2, PBKDF2-HMAC-SHA256, AES-256-CBC.

    Assembled here because the cryptography package fixes its own iteration count, which is too low for a passphrase
    that a person chose.
    """
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, iv = os.urandom(16), os.urandom(16)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(
        algorithms.AES(hashlib.pbkdf2_hmac("sha256", passphrase, salt, iterations, 32)), modes.CBC(iv)
    ).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    kdf = der.tlv(
        der.SEQUENCE,
        _PBKDF2,
        der.tlv(der.SEQUENCE, der.tlv(der.OCTET_STRING, salt), der.integer(iterations), _HMAC_SHA256),
    )
    cipher = der.tlv(der.SEQUENCE, _AES256_CBC, der.tlv(der.OCTET_STRING, iv))
    algorithm = der.tlv(der.SEQUENCE, _PBES2, der.tlv(der.SEQUENCE, kdf, cipher))
    return _pem("ENCRYPTED PRIVATE KEY", der.tlv(der.SEQUENCE, algorithm, der.tlv(der.OCTET_STRING, encrypted)))


def _pem(label: str, content: bytes) -> bytes:
    text = base64.b64encode(content)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])
