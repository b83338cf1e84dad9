"""What an enrolment leaves on disk: key.pem, cert.pem, chain.pem, and request.json while the answer is outstanding.

Every file is created 0600 and never overwritten. request.json is written before anything is sent, so that a lost
connection or a closed terminal loses neither the key nor the transaction; it holds the CSR, and so the challenge.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from scep_server.client.identity import PrivateKey, Signer
from scep_server.errors import ConfigurationError

KEY: Final = "key.pem"
CERTIFICATE: Final = "cert.pem"
CHAIN: Final = "chain.pem"
REQUEST: Final = "request.json"


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A request whose answer has not come."""

    url: str
    transaction_id: str
    message_type: int
    pending: bool
    """True once the server answered PENDING: the next message is a CertPoll. False: the request itself again."""
    csr: bytes = field(repr=False)
    signer: bytes
    """DER of the certificate the request is signed with."""
    signer_key: str
    """Path of that certificate's key."""


class Folder:
    """One enrolment's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse_used(self) -> None:
        """ConfigurationError when an earlier enrolment left anything here."""
        if (self.path / REQUEST).exists():
            raise ConfigurationError(
                f"{self.path} holds an enrolment that is not finished; go on with `scep-server client poll --out "
                f"{self.path}`, or choose another folder"
            )
        for name in (KEY, CERTIFICATE, CHAIN):
            if (self.path / name).exists():
                raise ConfigurationError(f"{self.path / name} exists and is never overwritten; choose another --out")

    def begin(self, key: PrivateKey, outstanding: Outstanding) -> None:
        """Writes the key and the request, before it is sent."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--out {self.path} cannot be made: {error.strerror}") from None
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _create(self.path / KEY, pem)
        _create(self.path / REQUEST, _dump(outstanding))

    def mark_pending(self, outstanding: Outstanding) -> None:
        """The server answered PENDING. Replaces request.json in one step."""
        beside = self.path / f"{REQUEST}.new"
        beside.unlink(missing_ok=True)
        _create(beside, _dump(outstanding))
        beside.replace(self.path / REQUEST)

    def finish(self, certificate: x509.Certificate, chain: list[x509.Certificate]) -> None:
        """Writes certificate and chain; the request is then no longer outstanding."""
        pem = serialization.Encoding.PEM
        _create(self.path / CERTIFICATE, certificate.public_bytes(pem))
        _create(self.path / CHAIN, b"".join(one.public_bytes(pem) for one in chain))
        (self.path / REQUEST).unlink()

    def abandon(self) -> None:
        """The server refused: the key never got a certificate, so nothing of this enrolment is kept."""
        for name in (REQUEST, KEY):
            (self.path / name).unlink(missing_ok=True)

    def outstanding(self) -> Outstanding:
        """The request that waits here. ConfigurationError when there is none."""
        path = self.path / REQUEST
        try:
            stored = json.loads(path.read_text())
            return Outstanding(
                url=str(stored["url"]),
                transaction_id=str(stored["transaction_id"]),
                message_type=int(stored["message_type"]),
                pending=bool(stored["pending"]),
                csr=base64.b64decode(stored["csr"]),
                signer=base64.b64decode(stored["signer"]),
                signer_key=str(stored["signer_key"]),
            )
        except FileNotFoundError:
            raise ConfigurationError(f"{path} does not exist: no enrolment waits here; start with `enroll`") from None
        except (OSError, ValueError, KeyError, TypeError, binascii.Error) as error:
            raise ConfigurationError(f"{path} cannot be read ({error}); start again in another folder") from None

    def key(self) -> PrivateKey:
        """The key of this enrolment."""
        return load_key(self.path / KEY)


def load_key(path: Path) -> PrivateKey:
    """An unencrypted RSA or EC key in PEM. Raises ConfigurationError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigurationError(f"{path} is no unencrypted private key in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{path} is neither an RSA nor an EC key")
    return key


def load_signer(certificate: Path, key: Path) -> Signer:
    """The certificate to renew, with its key. Raises ConfigurationError when they do not belong together."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{certificate} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"{certificate} is no certificate in PEM") from None
    signer = Signer(loaded, load_key(key))
    if signer.key.public_key() != loaded.public_key():
        raise ConfigurationError(f"{key} is not the key of {certificate}; name the pair that was enrolled together")
    return signer


def _dump(outstanding: Outstanding) -> bytes:
    return json.dumps(
        {
            "url": outstanding.url,
            "transaction_id": outstanding.transaction_id,
            "message_type": outstanding.message_type,
            "pending": outstanding.pending,
            "csr": base64.b64encode(outstanding.csr).decode(),
            "signer": base64.b64encode(outstanding.signer).decode(),
            "signer_key": outstanding.signer_key,
        },
        indent=1,
    ).encode()


def _create(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists and is never overwritten; choose another --out") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
