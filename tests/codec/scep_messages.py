"""Keys, certificates and pkiMessages for the codec's tests, written byte by byte so that a test can bend any field."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID

from scep_server.codec.algorithms import TRANSPORT_PADDINGS
from scep_server.codec.asn1 import OID, element, encode
from scep_server.codec.certificate import read_tbs, recipient_ids
from scep_server.codec.envelope import encrypt, key_trans_recipient
from scep_server.codec.messages import parse_request
from scep_server.errors import Refusal
from scep_server.types import Allowed, Cipher, Digest, KeyTransport, MessageType, SealedRequest, WrappedKey

HASHES = {"sha1": SHA1(), "sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}
DIGEST_OIDS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
ID_DATA = "1.2.840.113549.1.7.1"
ID_SIGNED = "1.2.840.113549.1.7.2"
RSA = "1.2.840.113549.1.1.1"
TRANSACTION_ID = "2.16.840.1.113733.1.9.7"
MESSAGE_TYPE = "2.16.840.1.113733.1.9.2"
SENDER_NONCE = "2.16.840.1.113733.1.9.5"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
NONCE = bytes(range(16))
SHA256_WITH_RSA = "1.2.840.113549.1.1.11"
NULL = b"\x05\x00"

ALLOWED = Allowed(
    message_types=frozenset(MessageType),
    digests=frozenset({Digest.SHA256, Digest.SHA384, Digest.SHA512}),
    ciphers=frozenset({Cipher.AES128_CBC, Cipher.AES192_CBC, Cipher.AES256_CBC}),
)
LEGACY = Allowed(message_types=frozenset(MessageType), digests=frozenset(Digest), ciphers=frozenset(Cipher))

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@functools.cache
def rsa_key(name: str, size: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """One key a name for the whole run: making them is what costs."""
    return rsa.generate_private_key(exponent, size)


@functools.cache
def ec_key(curve: str = "secp256r1") -> ec.EllipticCurvePrivateKey:
    curves = {c.name: c for c in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1())}
    return ec.generate_private_key(curves[curve])


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def certificate(
    key: Key,
    subject: str = "device",
    *,
    serial: int = 1,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    year: int = 2026,
) -> bytes:
    """A self-signed certificate, DER."""
    start = dt.datetime(year, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(subject)).serial_number(serial)
    builder = builder.public_key(key.public_key()).not_valid_before(start)
    builder = builder.not_valid_after(start + dt.timedelta(days=30))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def csr(key: Key, subject: str = "device", challenge: bytes | None = b"secret", digest: str = "sha256") -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(subject))
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge)
    return builder.sign(key, HASHES[digest]).public_bytes(Encoding.DER)


@functools.cache
def ra() -> bytes:
    """The SCEP recipient's certificate, with a SubjectKeyIdentifier."""
    key = rsa_key("ra")
    ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return certificate(key, "ra", serial=77, extensions=[(ski, False)])


@functools.cache
def device() -> bytes:
    return certificate(rsa_key("device"))


@functools.cache
def device_csr() -> bytes:
    return csr(rsa_key("device"))


def recipients() -> tuple:
    return recipient_ids(ra())


def sign(key: Key, data: bytes, digest: str = "sha256") -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), HASHES[digest])
    return key.sign(data, ec.ECDSA(HASHES[digest]))


def algorithm(oid: str, parameters: bytes = b"") -> bytes:
    return element(0x30, encode(OID(oid)), parameters)


def attribute(oid: str, *values: bytes) -> bytes:
    return element(0x30, encode(OID(oid)), element(0x31, *values))


def printable(text: str) -> bytes:
    return element(0x13, text.encode())


def scep_attributes(
    message_type: str = "19", transaction_id: str = "tid-1", nonce: bytes | None = NONCE, **replaced: bytes | None
) -> list[bytes]:
    """The SCEP attributes of a request; replaced: type, tid, content_type or a new name, raw or None."""
    attributes = {
        "type": attribute(MESSAGE_TYPE, printable(message_type)),
        "tid": attribute(TRANSACTION_ID, printable(transaction_id)),
        "nonce": None if nonce is None else attribute(SENDER_NONCE, element(0x04, nonce)),
        "content_type": attribute(CONTENT_TYPE, encode(OID(ID_DATA))),
    }
    attributes.update(replaced)
    return [value for value in attributes.values() if value is not None]


def envelope(
    content: bytes | None = None,
    *,
    cipher: Cipher = Cipher.AES128_CBC,
    transport: KeyTransport = KeyTransport.PKCS1_V15,
    recipient: bytes | None = None,
) -> bytes:
    key = bytes(range(cipher.key_length))
    tbs = read_tbs(ra())
    if recipient is None:
        recipient = key_trans_recipient(key, rsa_key("ra").public_key(), tbs.issuer, tbs.serial_number, transport)
    iv = bytes(8 if cipher is Cipher.DES3_CBC else 16)
    return encrypt(content if content is not None else device_csr(), cipher, key, recipient, iv)


def sid_of(cert: bytes) -> bytes:
    tbs = read_tbs(cert)
    return element(0x30, tbs.issuer, tbs.serial)


def signer_info(
    key: Key,
    cert: bytes,
    content: bytes | None,
    attributes: Sequence[bytes],
    *,
    digest: str = "sha256",
    digest_id: bytes | None = None,
    signature_id: bytes | None = None,
    sid: bytes | None = None,
    message_digest: bytes | None = None,
    order: Sequence[bytes] | None = None,
    unsigned_attributes: bytes = b"",
    signature: bytes | None = None,
) -> bytes:
    if message_digest is None:
        md = hashlib.new(digest, content or b"").digest()
        message_digest = attribute(MESSAGE_DIGEST, element(0x04, md))
    everything = sorted([*attributes, *([message_digest] if message_digest else [])])
    if signature is None:
        signature = sign(key, element(0x31, *everything), digest if digest != "md5" else "sha256")
    if signature_id is None:
        rsa_like = isinstance(key, rsa.RSAPrivateKey)
        signature_id = algorithm(RSA, NULL) if rsa_like else algorithm("1.2.840.10045.4.3.2")
    return element(
        0x30,
        b"\x02\x01\x01",
        sid or sid_of(cert),
        digest_id or algorithm(DIGEST_OIDS[digest], NULL),
        element(0xA0, *(order or everything)),
        signature_id,
        element(0x04, signature),
        unsigned_attributes,
    )


def signed_data(
    content: bytes | None,
    signer_infos: Sequence[bytes],
    certificates: Sequence[bytes],
    *,
    content_type: str = ID_DATA,
    crls: bytes = b"",
    outer: str = ID_SIGNED,
) -> bytes:
    e_content = b"" if content is None else element(0xA0, element(0x04, content))
    return element(
        0x30,
        encode(OID(outer)),
        element(
            0xA0,
            element(
                0x30,
                b"\x02\x01\x01",
                element(0x31, algorithm(DIGEST_OIDS["sha256"], NULL)),
                element(0x30, encode(OID(content_type)), e_content),
                element(0xA0, *certificates) if certificates else b"",
                crls,
                element(0x31, *sorted(signer_infos)),
            ),
        ),
    )


def request(
    content: bytes | None = None,
    attributes: Sequence[bytes] | None = None,
    *,
    key: Key | None = None,
    cert: bytes | None = None,
    bag: Sequence[bytes] | None = None,
    content_type: str = ID_DATA,
    absent: bool = False,
    **bent: object,
) -> bytes:
    """A PKCSReq of the device; every argument bends one thing."""
    key, cert = key or rsa_key("device"), cert or device()
    content = None if absent else envelope() if content is None else content
    info = signer_info(key, cert, content, scep_attributes() if attributes is None else attributes, **bent)
    return signed_data(content, [info], [cert] if bag is None else bag, content_type=content_type)


# --- the server's side of a test --------------------------------------------------------------------------------------

CONTENT_KEY = bytes(range(16))


def parse(data: bytes, allowed: Allowed = ALLOWED) -> SealedRequest:
    return parse_request(data, allowed, recipients())


def refused(data: bytes, allowed: Allowed = ALLOWED) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse(data, allowed)
    assert caught.value.reply_to is not None
    assert caught.value.reply_to.transaction_id == "tid-1"
    assert caught.value.reply_to.sender_nonce == NONCE
    return caught.value


def unwrap(sealed: SealedRequest) -> bytes:
    wrapped = sealed.envelope.recipient
    assert isinstance(wrapped, WrappedKey)
    return rsa_key("ra").decrypt(wrapped.encrypted_key, TRANSPORT_PADDINGS[wrapped.transport])
