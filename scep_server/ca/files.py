"""Files that hold secrets: created once, readable by their owner only, and refused when anybody else can read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from scep_server.errors import ConfigurationError

MAX_SIZE = 1 << 20
"""Bytes; no key, chain or passphrase is larger, and a wrong path may be a device."""

_PRIVATE_FILE = 0o600
_PRIVATE_DIRECTORY = 0o700
_OTHERS = 0o077


def create_private_file(path: Path, content: bytes) -> None:
    """Write a new 0600 file and sync it to disk. ConfigurationError when the path exists already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE_FILE)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists and is never overwritten; move it away first") from None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, _PRIVATE_FILE)  # a umask may only have taken bits away; owner's read and write are wanted
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def create_private_directory(path: Path) -> None:
    """Make a new 0700 directory. FileExistsError when it is there."""
    path.mkdir(mode=_PRIVATE_DIRECTORY)
    path.chmod(_PRIVATE_DIRECTORY)


def sync_directory(path: Path) -> None:
    """Make the directory's entries durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private_file(path: Path) -> bytes:
    """Content of a secret file. ConfigurationError when it is missing, too large, or open to group or others (K13)."""
    return _read(path, private=True)


def read_public_file(path: Path) -> bytes:
    """Content of a file whose mode does not matter. ConfigurationError when it is missing or too large."""
    return _read(path, private=False)


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if private and status.st_mode & _OTHERS:
                mode = stat.S_IMODE(status.st_mode)
                raise ConfigurationError(
                    f"{path} has mode {mode:04o}, so others than its owner can reach a secret; run: chmod 600 {path}"
                )
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_SIZE:
        raise ConfigurationError(f"{path} is larger than {MAX_SIZE} bytes and cannot be what is expected here")
    return content
