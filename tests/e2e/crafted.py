"""SCEP messages (RFC 8894 section 3) put together piece by piece, so that a test can make exactly one piece wrong."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from tests.e2e.der import (
    algorithm,
    attribute,
    content_of,
    context,
    implicit,
    integer,
    octets,
    oid,
    printable,
    sequence,
    set_of,
    tlv,
)
from tests.e2e.identities import (
    ECDSA_SIGNATURES,
    Device,
    certification_request,
    issuer_and_serial,
    sign,
    spki,
)

DATA, SIGNED_DATA, ENVELOPED_DATA = (f"1.2.840.113549.1.7.{n}" for n in (1, 2, 3))
CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME = (f"1.2.840.113549.1.9.{n}" for n in (3, 4, 5))
MESSAGE_TYPE, PKI_STATUS, FAIL_INFO, SENDER_NONCE, RECIPIENT_NONCE, TRANSACTION_ID = (
    f"2.16.840.1.113733.1.9.{n}" for n in (2, 3, 4, 5, 6, 7)
)
RSA_ENCRYPTION, RSAES_OAEP, MGF1 = (f"1.2.840.113549.1.1.{n}" for n in (1, 7, 8))
DIGESTS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
CIPHERS = {
    "aes128": ("2.16.840.1.101.3.4.1.2", 16, 16),
    "aes192": ("2.16.840.1.101.3.4.1.22", 24, 16),
    "aes256": ("2.16.840.1.101.3.4.1.42", 32, 16),
    "des3": ("1.2.840.113549.3.7", 24, 8),
    "des": ("1.3.14.3.2.7", 8, 8),
}


def encrypt(cipher: str, cek: bytes, iv: bytes, plaintext: bytes, *, pad: bool = True) -> bytes:
    """CBC with the padding of RFC 5652 section 6.3. Single DES is 3DES with one key three times."""
    block = CIPHERS[cipher][2]
    if pad:
        count = block - len(plaintext) % block
        plaintext += bytes((count,)) * count
    key = cek * 3 if cipher == "des" else cek
    mode = TripleDES(key) if cipher.startswith("des") else AES(key)
    worker = Cipher(mode, CBC(iv)).encryptor()
    return worker.update(plaintext) + worker.finalize()


def recipient(
    certificate: bytes,
    cek: bytes,
    *,
    transport: str = "pkcs1",
    by: str = "issuer",
    encrypted_key: bytes | None = None,
    serial: bytes | None = None,
) -> bytes:
    """KeyTransRecipientInfo. transport: pkcs1, oaep-sha1, oaep-sha256; by: issuer, ski; encrypted_key: as it is."""
    issuer, number = issuer_and_serial(certificate)
    parsed = x509.load_der_x509_certificate(certificate)
    if by == "ski":
        ski = parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        version, rid = 2, implicit(0, ski)
    else:
        version, rid = 0, sequence(issuer, serial or number)
    how: padding.AsymmetricPadding = padding.PKCS1v15()
    identifier = algorithm(RSA_ENCRYPTION)
    if transport != "pkcs1":
        digest = transport.removeprefix("oaep-")
        hash_ = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}[digest]
        how = padding.OAEP(padding.MGF1(hash_), hash_, None)
        inner = algorithm(DIGESTS[digest])
        parameters = b"" if digest == "sha1" else context(0, inner) + context(1, sequence(oid(MGF1), inner))
        identifier = sequence(oid(RSAES_OAEP), sequence(parameters))
    if encrypted_key is None:
        encrypted_key = parsed.public_key().encrypt(cek, how)  # type: ignore[union-attr]
    return sequence(integer(version), rid, identifier, octets(encrypted_key))


def envelope(
    plaintext: bytes,
    recipients: Sequence[bytes],
    cek: bytes,
    *,
    cipher: str = "aes128",
    iv: bytes | None = None,
    ciphertext: bytes | None = None,
    content_type: str = DATA,
    version: int = 0,
) -> bytes:
    """ContentInfo with an EnvelopedData around plaintext."""
    identifier, _, block = CIPHERS[cipher]
    iv = os.urandom(block) if iv is None else iv
    if ciphertext is None:
        ciphertext = encrypt(cipher, cek, iv, plaintext)
    content = sequence(oid(content_type), sequence(oid(identifier), octets(iv)), implicit(0, ciphertext))
    body = sequence(integer(version), set_of(*recipients), content)
    return sequence(oid(ENVELOPED_DATA), context(0, body))


def seal(plaintext: bytes, certificate: bytes, *, cipher: str = "aes128", **how: Any) -> bytes:
    """The ordinary pkcsPKIEnvelope: one recipient, a fresh key. how goes to recipient()."""
    cek = os.urandom(CIPHERS[cipher][1])
    return envelope(plaintext, [recipient(certificate, cek, **how)], cek, cipher=cipher)


@dataclass
class Attributes:
    """The signed attributes as fields; `more` and `without` bend them."""

    message_type: bytes
    transaction_id: bytes
    sender_nonce: bytes
    more: Sequence[bytes] = ()
    without: frozenset[str] = frozenset()
    content_type: str = DATA

    def elements(self, content: bytes | None, digest: str) -> list[bytes]:
        listed = {
            CONTENT_TYPE: oid(self.content_type),
            MESSAGE_DIGEST: octets(hashlib.new(digest, content or b"").digest()),
            MESSAGE_TYPE: self.message_type,
            TRANSACTION_ID: self.transaction_id,
            SENDER_NONCE: octets(self.sender_nonce),
        }
        return [attribute(kind, value) for kind, value in listed.items() if kind not in self.without] + list(self.more)


def signer_info(
    certificate: bytes,
    key: Any,
    attributes: Sequence[bytes] | None,
    *,
    content: bytes = b"",
    digest: str = "sha256",
    digest_identifier: bytes | None = None,
    signature_identifier: bytes | None = None,
    by: str = "issuer",
    unsigned: Sequence[bytes] = (),
    signature: bytes | None = None,
    version: int = 1,
) -> bytes:
    """SignerInfo over attributes; attributes None signs the content directly, which SCEP forbids."""
    signed = set_of(*attributes) if attributes is not None else None
    if signature is None:
        signature = sign(key, content if signed is None else signed, digest)
    if by == "ski":
        ski = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        version, sid = 3, implicit(0, ski.value.digest)
    else:
        sid = sequence(*issuer_and_serial(certificate))
    if signature_identifier is None:
        is_ec = isinstance(key, ec.EllipticCurvePrivateKey)
        signature_identifier = algorithm(ECDSA_SIGNATURES[digest], b"") if is_ec else algorithm(RSA_ENCRYPTION)
    return sequence(
        integer(version),
        sid,
        digest_identifier or algorithm(DIGESTS[digest]),
        b"" if signed is None else tlv(0xA0, content_of(signed)),
        signature_identifier,
        octets(signature),
        tlv(0xA1, *unsigned) if unsigned else b"",
    )


def signed_data(
    content: bytes | None,
    signer_infos: Sequence[bytes],
    certificates: Sequence[bytes],
    *,
    digest: str = "sha256",
    content_type: str = DATA,
) -> bytes:
    """ContentInfo with a SignedData; content None leaves eContent absent."""
    inner = sequence(oid(content_type), b"" if content is None else context(0, octets(content)))
    digests = set_of(algorithm(DIGESTS[digest]))
    body = sequence(integer(1), digests, inner, context(0, *certificates), set_of(*signer_infos))
    return sequence(oid(SIGNED_DATA), context(0, body))


def attributes_of(
    message_type: str | bytes = "19", transaction_id: str | bytes | None = None, nonce: bytes | None = None, **bend: Any
) -> Attributes:
    """Attributes with a fresh transaction and nonce unless told; text becomes PrintableString."""
    tid = transaction_id if transaction_id is not None else secrets.token_hex(16)
    return Attributes(
        message_type if isinstance(message_type, bytes) else printable(message_type),
        tid if isinstance(tid, bytes) else printable(tid),
        nonce if nonce is not None else os.urandom(16),
        **bend,
    )


def message(
    device: Device,
    content: bytes | None,
    attributes: Attributes,
    *,
    digest: str = "sha256",
    signer: Any = None,
    certificates: Sequence[bytes] | None = None,
    **signer_options: Any,
) -> bytes:
    """A pkiMessage around an envelope, signed by the device."""
    listed = attributes.elements(content, digest)
    info = signer_info(device.certificate, signer or device.key, listed, digest=digest, **signer_options)
    bag = [device.certificate] if certificates is None else certificates
    return signed_data(content, [info], bag, digest=digest)


def pkcs_req(
    device: Device,
    recipient_certificate: bytes,
    challenge: str | bytes | None,
    *,
    csr: bytes | None = None,
    cipher: str = "aes128",
    digest: str = "sha256",
    message_type: str | bytes = "19",
    transaction_id: str | bytes | None = None,
    nonce: bytes | None = None,
    **sealing: Any,
) -> bytes:
    """A whole, correct PKCSReq; sealing goes to recipient()."""
    if csr is None:
        csr = certification_request(device.key, device.subject, challenge=challenge)
    sealed = seal(csr, recipient_certificate, cipher=cipher, **sealing)
    return message(device, sealed, attributes_of(message_type, transaction_id, nonce), digest=digest)


def key_identifier(key: Any) -> str:
    """The transaction id that most clients choose: SHA-1 of the public key, in hex."""
    return hashlib.sha1(spki(key)).hexdigest().upper()
