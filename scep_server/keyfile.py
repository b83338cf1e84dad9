"""The key file: what must be recoverable is encrypted under it (AES-256-GCM), what need not be is kept as its MAC."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scep_server.errors import ConfigurationError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
PREFIX: Final = "v1."


class SecretKeyFile:
    """Encrypts under one 256-bit key; the context is authenticated, so a token cannot be moved elsewhere."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        # One secret, two uses: each has a key of its own.
        self._mac_key = hmac.digest(key, b"scep-server mac", "sha256")

    def encrypt(self, plaintext: bytes, context: str) -> str:
        """A printable token of version, nonce and ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, plaintext, context.encode())
        return PREFIX + base64.urlsafe_b64encode(sealed).decode()

    def decrypt(self, token: str, context: str) -> bytes:
        """ConfigurationError when the token was made under another key file, for another context, or altered."""
        try:
            sealed = base64.urlsafe_b64decode(token.removeprefix(PREFIX))
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise ConfigurationError(
                "a stored secret does not open with this key file; restore the key file that belongs to this ledger"
            ) from error

    def mac(self, value: bytes, context: str) -> bytes:
        """HMAC-SHA-256 under a key derived for this context, 32 bytes: what is compared and never shown again."""
        return hmac.digest(hmac.digest(self._mac_key, context.encode(), "sha256"), value, "sha256")


def create_key(path: Path) -> bytes:
    """A new random key in a new file of mode 0600. FileExistsError when there is one already."""
    key = secrets.token_bytes(KEY_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, base64.b64encode(key) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return key


def read_key(path: Path) -> bytes:
    """The key in a file. ConfigurationError when it is missing, readable by others, or no key."""
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"key file {path} cannot be read ({error.strerror}); restore it from the backup"
        ) from error
    if mode & 0o077:
        raise ConfigurationError(f"key file {path} is readable by others; run `chmod 600 {path}`")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"key file {path} holds no 256-bit key in base64; restore it from the backup")
    return key
