"""One enrolment from the command line: folder first, then the exchange, then patience, then the result.

The request is on disk before it is sent, so that after a lost connection `client poll` repeats exactly that request,
which gives the same certificate and not a second one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID

from scep_server.cli import output
from scep_server.cli.failures import PENDING, REFUSED, UNAVAILABLE, CommandFailed, say
from scep_server.client import Algorithms, Client, Folder, Issued, Outstanding, Pending, Refused, Request, Transport
from scep_server.client.authority import sha256
from scep_server.client.folder import load_key, load_signer
from scep_server.client.identity import (
    PrivateKey,
    Signer,
    build_csr,
    generate_key,
    parse_san,
    parse_subject,
    self_signed,
    transaction_id,
)
from scep_server.client.report import Report
from scep_server.client.transport import Unavailable
from scep_server.errors import ConfigurationError
from scep_server.types import Cipher, Digest, KeyTransport, MessageType

_CIPHERS: Final = {
    "aes128": Cipher.AES128_CBC,
    "aes192": Cipher.AES192_CBC,
    "aes256": Cipher.AES256_CBC,
    "des3": Cipher.DES3_CBC,
}
_TRANSPORTS: Final = {
    "pkcs1": KeyTransport.PKCS1_V15,
    "oaep-sha1": KeyTransport.OAEP_SHA1,
    "oaep-sha256": KeyTransport.OAEP_SHA256,
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says about any enrolment."""

    out: Path
    fingerprint: str | None
    algorithms: Algorithms
    wait: int
    """Seconds to wait while pending."""
    interval: int
    as_json: bool
    report: Report


def parse_algorithms(digest: str, cipher: str, key_transport: str) -> Algorithms:
    """The three algorithm options. Raises ConfigurationError with the possible values."""
    digests = {one.value: one for one in Digest}
    for option, value, known in (
        ("--digest", digest, digests),
        ("--cipher", cipher, _CIPHERS),
        ("--key-transport", key_transport, _TRANSPORTS),
    ):
        if value not in known:
            raise ConfigurationError(f"{option} {value!r} is unknown; choose one of {', '.join(known)}")
    return Algorithms(digests[digest], _CIPHERS[cipher], _TRANSPORTS[key_transport])


async def enroll_new(
    transport: Transport, wishes: Wishes, key_type: str, subject: str, names: Sequence[str], challenge: str | None
) -> None:
    """A PKCSReq with a key of our own."""
    folder = Folder(wishes.out)
    folder.refuse_used()
    name, alternatives = parse_subject(subject), tuple(map(parse_san, names))
    client = await Client.connect(transport, wishes.fingerprint, wishes.report)
    key = _new_key(key_type)
    csr = build_csr(key, name, alternatives, challenge)
    signer = self_signed(key, name)
    request = Request(MessageType.PKCS_REQ, transaction_id(key), signer, csr, challenge)
    await _carry_out(client, transport, wishes, folder, key, request, folder.path / "key.pem")


async def enroll_renewal(transport: Transport, wishes: Wishes, key_type: str, old: Path, challenge: str | None) -> None:
    """A RenewalReq: new key, same names, signed by the certificate that is renewed."""
    folder = Folder(wishes.out)
    folder.refuse_used()
    signer = load_signer(old / "cert.pem", old / "key.pem")
    client = await Client.connect(transport, wishes.fingerprint, wishes.report)
    key = _new_key(key_type)
    csr = build_csr(key, signer.certificate.subject, _alternatives(signer.certificate), challenge)
    request = Request(MessageType.RENEWAL_REQ, transaction_id(key), signer, csr, challenge)
    await _carry_out(client, transport, wishes, folder, key, request, old / "key.pem")


async def enroll_outstanding(
    transport: Transport, wishes: Wishes, outstanding: Outstanding, challenge: str | None
) -> None:
    """A CertPoll where the server said PENDING; the same request again where its answer never came."""
    folder = Folder(wishes.out)
    folder.key()
    csr = x509.load_der_x509_csr(outstanding.csr)
    signer = Signer(x509.load_der_x509_certificate(outstanding.signer), load_key(Path(outstanding.signer_key)))
    client = await Client.connect(transport, wishes.fingerprint, wishes.report)
    request = Request(
        MessageType.CERT_POLL if outstanding.pending else MessageType(outstanding.message_type),
        outstanding.transaction_id,
        signer,
        csr,
        challenge or _challenge_of(csr),
    )
    await _exchange(client, wishes, folder, request, outstanding, sent_before=True)


async def _carry_out(
    client: Client,
    transport: Transport,
    wishes: Wishes,
    folder: Folder,
    key: PrivateKey,
    request: Request,
    signer_key: Path,
) -> None:
    outstanding = Outstanding(
        url=transport.url,
        transaction_id=request.transaction_id,
        message_type=int(request.message_type),
        pending=False,
        csr=request.csr.public_bytes(Encoding.DER),
        signer=request.signer.der,
        signer_key=str(signer_key),
    )
    folder.begin(key, outstanding)
    await _exchange(client, wishes, folder, request, outstanding, sent_before=False)


async def _exchange(
    client: Client, wishes: Wishes, folder: Folder, request: Request, outstanding: Outstanding, *, sent_before: bool
) -> None:
    """Sends, and polls while it is pending and there is time.

    sent_before: the server may have issued already, so no error of ours is a reason to give the key up.
    """
    deadline = time.monotonic() + wishes.wait
    while True:
        try:
            outcome = await client.request(request, wishes.algorithms)
        except ConfigurationError:
            if not sent_before:
                folder.abandon()
            raise
        except Unavailable as error:
            raise CommandFailed(
                f"{error}; the request is kept, repeat it with `scep-server client poll --out {folder.path}`",
                UNAVAILABLE,
            ) from None
        sent_before = True
        match outcome:
            case Issued():
                folder.finish(outcome.certificate, list(outcome.chain))
                _show(outcome, folder, as_json=wishes.as_json)
                return
            case Refused():
                folder.abandon()
                raise CommandFailed(f"refused: {outcome}", REFUSED)
            case Pending():
                if not outstanding.pending:
                    outstanding = replace(outstanding, pending=True)
                    folder.mark_pending(outstanding)
                request = replace(request, message_type=MessageType.CERT_POLL)
                await _patience(deadline, wishes.interval, folder)


async def _patience(deadline: float, interval: int, folder: Folder) -> None:
    """Waits for one interval with a line of progress. CommandFailed (4) when the time is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise CommandFailed(
            f"pending: an operator has to approve first; ask again with `scep-server client poll --out {folder.path}`",
            PENDING,
        )
    say(f"pending; asking again in {min(interval, int(left) + 1)} s, for {int(left)} s more")
    await asyncio.sleep(min(interval, left))


def _new_key(key_type: str) -> PrivateKey:
    with output.working(f"Making a {key_type} key …"):
        return generate_key(key_type)


def _alternatives(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def _challenge_of(csr: x509.CertificateSigningRequest) -> str | None:
    try:
        return csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value.decode()
    except (x509.AttributeNotFound, UnicodeDecodeError):
        return None


def _show(issued: Issued, folder: Folder, *, as_json: bool) -> None:
    certificate = issued.certificate
    record = {
        "serial": f"{certificate.serial_number:x}",
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "not_after": output.rfc3339(certificate.not_valid_after_utc),
        "sha256": sha256(certificate),
        "key": str(folder.path / "key.pem"),
        "certificate": str(folder.path / "cert.pem"),
        "chain": str(folder.path / "chain.pem"),
    }
    if as_json:
        output.json_line(record)
    else:
        output.fields(record)
