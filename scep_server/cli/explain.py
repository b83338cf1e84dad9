"""`scep-server explain`: print a SCEP message for a person who debugs a device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scep_server.cli.failures import CommandFailed
from scep_server.cli.options import secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAX_INPUT = 1 << 20
"""Bytes. Larger files are no SCEP message."""


def explain(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Message, DER, BER or base64; - reads standard input.")],
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Recipient's RSA key (PEM): shows the decrypted content too.")
    ] = None,
    key_passphrase_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Passphrase of that key.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Challenge that a message to an EC client is encrypted under.")
    ] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Print challenge passwords instead of hiding them.")] = False,
) -> None:
    """Print any SCEP message, certificate, CSR or CRL, field by field."""
    from scep_server.codec.explain import explain as explained  # noqa: PLC0415 - see options.settings_of

    try:
        content = sys.stdin.buffer.read(MAX_INPUT + 1) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > MAX_INPUT:
        raise CommandFailed(f"{file} is longer than {MAX_INPUT} bytes, so it is no SCEP message")
    password = secret(None, password_file, None, option="--password")
    opener = _key(key, key_passphrase_file)
    print(explained(content, opener, password=password.encode() if password else None, reveal=reveal))


def _key(path: Path | None, passphrase_file: Path | None) -> RSAPrivateKey | None:
    if path is None:
        return None
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    passphrase = secret(None, passphrase_file, None, option="--key-passphrase")
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase.encode() if passphrase else None)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise CommandFailed(
            f"{path} is no private key in PEM, or its passphrase (--key-passphrase-file) is missing or wrong"
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise CommandFailed(f"{path} is no RSA key; messages to other keys open with --password-file")
    return key
