"""CertRep as a client reads it, on asn1crypto: verify, decrypt, take the certificates out (RFC 8894 section 3.3.2).

Strict where devices are strict: one value per attribute, PrintableString where the RFC's table says so (R33, R34).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from tests.e2e import crafted
from tests.e2e.der import content_of, elements
from tests.e2e.identities import HASHES, Device

FAIL_INFO_TEXT = "1.3.6.1.5.5.7.24.1"
TYPES = {
    crafted.MESSAGE_TYPE: core.PrintableString,
    crafted.PKI_STATUS: core.PrintableString,
    crafted.FAIL_INFO: core.PrintableString,
    crafted.TRANSACTION_ID: core.PrintableString,
    crafted.SENDER_NONCE: core.OctetString,
    crafted.RECIPIENT_NONCE: core.OctetString,
    FAIL_INFO_TEXT: core.UTF8String,
}
STATUSES = {"0": "SUCCESS", "2": "FAILURE", "3": "PENDING"}


class BadReply(AssertionError):
    """The reply breaks a rule that some device enforces."""


def check(condition: object, rule: str) -> None:
    if not condition:
        raise BadReply(rule)


@dataclass(frozen=True)
class Reply:
    """One verified CertRep."""

    status: str
    fail_info: int | None
    text: str | None
    transaction_id: str
    sender_nonce: bytes
    recipient_nonce: bytes
    digest: str
    signer: bytes
    envelope: bytes | None = field(repr=False)
    raw: bytes = field(repr=False)

    @property
    def cipher(self) -> str:
        return enveloped(self)["encrypted_content_info"]["content_encryption_algorithm"].encryption_cipher

    def certificates(self, device: Device) -> list[bytes]:
        """The certificates, leaf first, decrypted with the device's key."""
        return [choice.dump() for choice in self.degenerate(device)["certificates"]]

    def degenerate(self, device: Device) -> Any:
        """The certs-only SignedData inside the envelope."""
        content = cms.ContentInfo.load(decrypt(self, device), strict=True)
        check(content["content_type"].native == "signed_data", "messageData is no SignedData (R21)")
        return content["content"]

    def certificate(self, device: Device) -> x509.Certificate:
        """The issued certificate: the first of the bag, for the device's key."""
        leaf = x509.load_der_x509_certificate(self.certificates(device)[0])
        check(leaf.public_key() == device.key.public_key(), "first certificate is not for the client's key (R63)")
        return leaf


def enveloped(reply: Reply) -> Any:
    check(reply.envelope is not None, f"no envelope in a {reply.status}")
    content = cms.ContentInfo.load(reply.envelope, strict=True)
    check(content["content_type"].native == "enveloped_data", "no EnvelopedData in the reply")
    return content["content"]


def decrypt(reply: Reply, device: Device) -> bytes:
    """The envelope's plaintext; one RSA recipient, PKCS#1 v1.5 or OAEP."""
    data = enveloped(reply)
    check(len(data["recipient_infos"]) == 1, "more than one recipient (R64)")
    info = data["recipient_infos"][0].chosen
    transport = info["key_encryption_algorithm"]
    how: padding.AsymmetricPadding = padding.PKCS1v15()
    if transport["algorithm"].native == "rsaes_oaep":
        hash_ = HASHES[transport["parameters"]["hash_algorithm"]["algorithm"].native]
        how = padding.OAEP(padding.MGF1(hash_), hash_, None)
    cek = device.key.decrypt(info["encrypted_key"].native, how)
    content = data["encrypted_content_info"]
    cipher = content["content_encryption_algorithm"]
    iv = cipher["parameters"].native
    name = cipher.encryption_cipher
    algorithm = AES(cek) if name == "aes" else TripleDES(cek * 3 if name == "des" else cek)
    worker = Cipher(algorithm, CBC(iv)).decryptor()
    plain = worker.update(encrypted_content(content.contents)) + worker.finalize()
    count = plain[-1]
    check(1 <= count <= len(iv) and plain.endswith(bytes((count,)) * count), "bad padding in the reply")
    return plain[:-count]


def encrypted_content(fields: bytes) -> bytes:
    """encryptedContent out of an EncryptedContentInfo; Go clients and servers send it constructed."""
    element = elements(fields)[2]
    if element[0] & 0x20:
        return b"".join(content_of(chunk) for chunk in elements(content_of(element)))
    return content_of(element)


def read_reply(body: bytes, *, lenient: bool = False) -> Reply:
    """Parse and verify a CertRep; BadReply names the rule it breaks. lenient: for peers that leave senderNonce out."""
    content = cms.ContentInfo.load(body, strict=True)
    check(content["content_type"].native == "signed_data", "not a SignedData")
    signed = content["content"]
    check(len(signed["signer_infos"]) == 1, "not exactly one SignerInfo (R31)")
    info = signed["signer_infos"][0]
    digest = info["digest_algorithm"]["algorithm"].native
    payload = signed["encap_content_info"]["content"].native
    values = attribute_values(info)
    check(values["message_digest"] == hashlib.new(digest, payload or b"").digest(), "messageDigest differs (R30)")
    check(values["content_type"] == "data", "contentType is not id-data (R30)")
    check(values[crafted.MESSAGE_TYPE] == "3", "messageType is not CertRep")
    signer = verify_signature(signed, info, digest)
    plain = info["signature_algorithm"]["algorithm"].dotted == crafted.RSA_ENCRYPTION
    check(lenient or plain, "SignerInfo.signatureAlgorithm is not rsaEncryption")
    status = STATUSES[values[crafted.PKI_STATUS]]
    fail_info = values.get(crafted.FAIL_INFO)
    check((fail_info is not None) == (status == "FAILURE"), "failInfo iff FAILURE (R32, R65)")
    check(lenient or (payload is not None) == (status == "SUCCESS"), "envelope iff SUCCESS (R45, R65)")
    check(status == "FAILURE" or FAIL_INFO_TEXT not in values, "failInfoText outside FAILURE (R39)")
    check(lenient or len(values.get(crafted.SENDER_NONCE, b"")) == 16, "senderNonce is not 16 bytes (R33)")
    return Reply(
        status,
        None if fail_info is None else int(fail_info),
        values.get(FAIL_INFO_TEXT),
        values[crafted.TRANSACTION_ID],
        values.get(crafted.SENDER_NONCE, b""),
        values[crafted.RECIPIENT_NONCE],
        digest,
        signer,
        payload,
        body,
    )


def attribute_values(info: Any) -> dict[str, Any]:
    """Signed attributes by name; each once, with one value of the type that RFC 8894 Table 1 names."""
    values: dict[str, Any] = {}
    for attribute in info["signed_attrs"]:
        kind = attribute["type"].native
        check(kind not in values and len(attribute["values"]) == 1, f"attribute {kind} not once with one value")
        value = attribute["values"][0]
        dotted = attribute["type"].dotted
        if dotted in TYPES:
            parsed = core.load(value.dump(), strict=True)
            check(type(parsed) is TYPES[dotted], f"attribute {dotted} has type {type(parsed).__name__} (R33)")
            values[dotted] = parsed.native
        else:
            values[kind] = value.native
    return values


def verify_signature(signed: Any, info: Any, digest: str) -> bytes:
    """The signer's certificate out of the reply's own bag (R35), after its signature was verified."""
    sid = info["sid"].chosen
    bag = [choice.chosen for choice in signed["certificates"]]
    matching = [c for c in bag if c.issuer == sid["issuer"] and c.serial_number == sid["serial_number"].native]
    check(len(matching) == 1, "signer certificate not in the reply (R35)")
    der = matching[0].dump()
    public = x509.load_der_x509_certificate(der).public_key()
    attributes = b"\x31" + info["signed_attrs"].dump()[1:]
    hash_: hashes.HashAlgorithm = HASHES[digest]
    public.verify(info["signature"].native, attributes, padding.PKCS1v15(), hash_)  # type: ignore[union-attr, call-arg]
    return der
