"""Any SCEP message, printed for a person who debugs a device.

Takes what `parse_request` would refuse as well: it reads with asn1crypto, which is lenient, behind the same guard as
everything else (asn1crypto recurses as deep as its input). Challenge passwords are hidden unless asked for.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from asn1crypto import cms, core, crl, csr, x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from scep_server.codec import asn1, ber, names
from scep_server.codec.algorithms import TRANSPORT_PADDINGS, cipher_of, transport_of
from scep_server.codec.csr import EXTENSION_REQUEST, parse_csr
from scep_server.codec.envelope import decrypt
from scep_server.codec.password import read_password_recipient, unwrap_password
from scep_server.errors import Malformed, Refusal
from scep_server.types import Envelope, FailInfo, KeyTransport, MessageType, PkiStatus, RecipientId, WrappedKey

MAX_SIZE: Final = 1 << 20
MAX_ELEMENTS: Final = 50_000
"""A CRL has many; this runs on an operator's machine, not for strangers."""

_INDENT: Final = "  "
_CMS: Final = bytes.fromhex("06092a864886f70d0107")
_PEM: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.+?)-----END", re.DOTALL)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=\s]+")
_CAPS: Final = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_HASHES: Final[dict[str, HashAlgorithm]] = {
    "md5": MD5(),  # noqa: S303 - printed as what it is
    "sha1": SHA1(),  # noqa: S303
    "sha256": SHA256(),
    "sha384": SHA384(),
    "sha512": SHA512(),
}
_ATTRIBUTES: Final = {
    "2.16.840.1.113733.1.9.2": "messageType",
    "2.16.840.1.113733.1.9.3": "pkiStatus",
    "2.16.840.1.113733.1.9.4": "failInfo",
    "2.16.840.1.113733.1.9.5": "senderNonce",
    "2.16.840.1.113733.1.9.6": "recipientNonce",
    "2.16.840.1.113733.1.9.7": "transactionID",
    "1.3.6.1.5.5.7.24.1": "failInfoText",
}
_MEANINGS: Final = {
    "messageType": {str(kind.value): kind.name for kind in MessageType},
    "pkiStatus": {status.value: status.name for status in PkiStatus},
    "failInfo": {str(info.value): info.name for info in FailInfo},
}


def explain(
    data: bytes, key: rsa.RSAPrivateKey | None = None, *, password: bytes | None = None, reveal: bool = False
) -> str:
    """Lines about a request, reply, GetCACert or GetCACaps body, CSR, certificate or CRL; DER, BER, PEM or base64.

    key or password opens an envelope for that recipient; reveal shows challenge passwords. Malformed when the bytes
    are none of these.
    """
    caps = _capabilities(data)
    if caps:
        return "\n".join(["GetCACaps answer", *(f"{_INDENT}{keyword}" for keyword in caps)])
    printer = _Explainer(key, password, reveal=reveal)
    try:
        return "\n".join(printer.anything(_binary(data)))
    except Malformed:
        raise
    except Exception as error:  # noqa: BLE001 - asn1crypto raises many kinds for bytes it does not like
        raise Malformed(f"cannot be read: {type(error).__name__}") from None


def _capabilities(data: bytes) -> list[str]:
    """Keywords when the bytes are a GetCACaps body, else nothing."""
    try:
        lines = data.decode("ascii").split()
    except UnicodeDecodeError:
        return []
    known = {"AES", "POSTPKIOperation", "SCEPStandard", "SHA-1", "SHA-256", "SHA-512", "DES3", "Renewal"}
    return lines if known & set(lines) and all(map(_CAPS.fullmatch, lines)) else []


def _binary(data: bytes) -> bytes:
    found = _PEM.search(data)
    text = found.group(1) if found else data
    if found or (data[:1] != b"\x30" and _BASE64.fullmatch(data)):
        try:
            return binascii.a2b_base64(b"".join(text.split()))
        except binascii.Error as error:
            raise Malformed("neither DER nor base64") from error
    return data


def _printable(value: object) -> str:
    """Client text on a terminal: no control characters (N21)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def _indented(lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    return (f"{_INDENT}{line}" for line in lines)


class _Explainer:
    """Prints one message; holds what may open it."""

    def __init__(self, key: rsa.RSAPrivateKey | None, password: bytes | None, *, reveal: bool) -> None:
        self._key = key
        self._password = password
        self._reveal = reveal

    def anything(self, data: bytes) -> Iterator[str]:
        """Tell what it is by its first elements."""
        ber.guard(data, max_size=MAX_SIZE, max_elements=MAX_ELEMENTS)
        if _CMS in data[:24]:
            yield from self._content_info(ber.to_der(data, max_size=MAX_SIZE))
            return
        tags = [element.tag_bytes[0] for element in asn1.members(asn1.tlv(data))]
        if tags == [0x30, 0x30]:
            yield "IssuerAndSubject"
            yield from _indented(_names(data, "issuer", "subject"))
        elif tags == [0x30, 0x02]:
            issuer, serial = asn1.members(asn1.tlv(data))
            yield "IssuerAndSerialNumber"
            yield f"{_INDENT}issuer: {_name(asn1.der(issuer))}"
            yield f"{_INDENT}serial: {asn1.decode(int, asn1.der(serial)):x}"
        elif tags == [0x30, 0x30, 0x03]:
            yield from self._signed(data)
        else:
            raise Malformed("no SCEP message, certification request, certificate or CRL")

    def _signed(self, data: bytes) -> Iterator[str]:
        body = asn1.members(asn1.tlv(data))[0]
        tags = [element.tag_bytes[0] for element in asn1.members(body)]
        if tags[:1] == [0xA0]:
            yield from _certificate(x509.Certificate.load(data))
        elif {0x17, 0x18} & set(tags[:5]):
            yield from _crl(crl.CertificateList.load(data))
        elif tags in ([0x02, 0x30, 0x30], [0x02, 0x30, 0x30, 0xA0]):
            yield from self._request(data)
        else:
            yield from _certificate(x509.Certificate.load(data))

    def _content_info(self, data: bytes) -> Iterator[str]:
        info = cms.ContentInfo.load(data)
        kind = info["content_type"].native
        if kind == "signed_data":
            signed = info["content"]
            if len(signed["signer_infos"]):
                yield from self._pki_message(signed)
            else:
                yield "Certificates only (degenerate SignedData)"
                yield from _indented(list(_bag(signed)))
        elif kind == "enveloped_data":
            yield from self._envelope(info["content"])
        else:
            yield f"CMS {kind}, which SCEP does not use"

    def _pki_message(self, signed: Any) -> Iterator[str]:
        yield "SCEP message (SignedData)"
        for signer in signed["signer_infos"]:
            yield from _indented(list(_signer(signed, signer)))
        yield from _indented(list(_bag(signed)))
        content = signed["encap_content_info"]["content"].native
        if content:
            yield from _indented(list(self.anything(content)))
        else:
            yield f"{_INDENT}no content"

    def _envelope(self, enveloped: Any) -> Iterator[str]:
        yield "EnvelopedData"
        encrypted = enveloped["encrypted_content_info"]
        algorithm = encrypted["content_encryption_algorithm"]
        yield f"{_INDENT}cipher: {_algorithm(algorithm)}"
        for recipient in enveloped["recipient_infos"]:
            yield f"{_INDENT}recipient: {_recipient(recipient)}"
        content = self._open(enveloped)
        if content is None:
            yield f"{_INDENT}encrypted content, not opened: {len(encrypted['encrypted_content'].native or b'')} octets"
        else:
            yield f"{_INDENT}decrypted:"
            yield from _indented(list(_indented(list(self.anything(content)))))

    def _open(self, enveloped: Any) -> bytes | None:
        encrypted = enveloped["encrypted_content_info"]
        for info in enveloped["recipient_infos"]:
            try:
                algorithm = asn1.decode(
                    asn1.AlgorithmIdentifier, encrypted["content_encryption_algorithm"].untag().dump()
                )
                cipher, iv = cipher_of(algorithm)
                recipient = asn1.decode(asn1.RecipientInfo, asn1.element(0x30, info.dump())).choice
                content_key = self._content_key(recipient, cipher.key_length)
            except (Malformed, Refusal, ValueError):
                continue
            if content_key is not None:
                wrapped = WrappedKey(RecipientId(), KeyTransport.PKCS1_V15, b"", cipher.key_length)
                envelope = Envelope(wrapped, cipher, iv, encrypted["encrypted_content"].native or b"")
                content, right = decrypt(envelope, content_key)
                if right:
                    return content
        return None

    def _content_key(self, recipient: object, key_length: int) -> bytes | None:
        if isinstance(recipient, asn1.KeyTransRecipientInfo) and self._key is not None:
            transport = transport_of(asn1.encode(recipient.key_encryption_algorithm))
            return self._key.decrypt(recipient.encrypted_key, TRANSPORT_PADDINGS[transport])
        if isinstance(recipient, asn1.PasswordRecipientInfo) and self._password is not None:
            return unwrap_password(read_password_recipient(recipient, key_length), [self._password])
        return None

    def _request(self, data: bytes) -> Iterator[str]:
        info = csr.CertificationRequest.load(data)["certification_request_info"]
        yield "Certification request (PKCS#10)"
        yield f"{_INDENT}subject: {_name(info['subject'].dump())}"
        yield f"{_INDENT}key: {_key(info['subject_pk_info'].dump())}"
        for attribute in info["attributes"] if info["attributes"].native is not None else ():
            yield from _indented(list(self._attribute(attribute)))
        try:
            parse_csr(data, allow_sha1=True)
            yield f"{_INDENT}self-signature: verified"
        except (Malformed, Refusal) as error:
            yield f"{_INDENT}NOT ACCEPTED: {error}"

    def _attribute(self, attribute: Any) -> Iterator[str]:
        kind = attribute["type"].native
        for value in attribute["values"]:
            if kind == "challenge_password":
                text = value.native
                shown = _printable(text) if self._reveal else f"({len(text)} characters, hidden)"
                yield f"challengePassword: {shown}"
            elif attribute["type"].dotted in EXTENSION_REQUEST:
                yield from _extensions(x509.Extensions.load(value.dump()))
            else:
                yield f"attribute {kind}: {value.dump().hex()[:80]}"


def _signer(signed: Any, signer: Any) -> Iterator[str]:
    for attribute in signer["signed_attrs"] if signer["signed_attrs"].native is not None else ():
        oid = attribute["type"].dotted
        name = _ATTRIBUTES.get(oid, attribute["type"].native)
        for value in attribute["values"]:
            native = core.load(value.dump()).native if oid in _ATTRIBUTES else value.native
            shown = native.hex() if isinstance(native, bytes) else _printable(native)
            meaning = _MEANINGS.get(name, {}).get(shown)
            yield f"{name}: {shown[:200]}{f' ({meaning})' if meaning else ''}"
    digest = signer["digest_algorithm"]["algorithm"].native
    yield f"digest: {digest}, signature: {_algorithm(signer['signature_algorithm'])}"
    yield f"signature: {_verdict(signed, signer, digest)}"


def _verdict(signed: Any, signer: Any, digest: str) -> str:
    certificate = _signer_certificate(signed, signer)
    if certificate is None:
        return "the signer's certificate is not in the message"
    if signer["signed_attrs"].native is None or digest not in _HASHES:
        return "not checked"
    content = signed["encap_content_info"]["content"].native or b""
    digests = [a["values"][0].native for a in signer["signed_attrs"] if a["type"].native == "message_digest"]
    if digests != [hashlib.new(digest, content).digest()]:
        return "WRONG: messageDigest is of another content"
    # RFC 5652 section 5.4: what is signed has the tag of a SET OF, not the [0] of the message.
    attributes = b"\x31" + signer["signed_attrs"].dump()[1:]
    public = load_der_public_key(certificate.public_key.dump())
    try:
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signer["signature"].native, attributes, padding.PKCS1v15(), _HASHES[digest])
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signer["signature"].native, attributes, ec.ECDSA(_HASHES[digest]))
        else:
            return "not checked: key type"
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return "WRONG"
    return f"verified, by {_name(certificate.subject.dump())}"


def _signer_certificate(signed: Any, signer: Any) -> Any:
    sid = signer["sid"]
    for choice in signed["certificates"] if signed["certificates"].native is not None else ():
        certificate = choice.chosen
        if sid.name == "subject_key_identifier":
            if certificate.key_identifier == sid.native:
                return certificate
        elif (
            certificate.serial_number == sid.chosen["serial_number"].native
            and certificate.issuer.dump() == sid.chosen["issuer"].dump()
        ):
            return certificate
    return None


def _bag(signed: Any) -> Iterator[str]:
    for choice in signed["certificates"] if signed["certificates"].native is not None else ():
        yield from _certificate(choice.chosen)
    for choice in signed["crls"] if signed["crls"].native is not None else ():
        yield from _crl(choice.chosen)


def _certificate(certificate: Any) -> Iterator[str]:
    der = certificate.dump()
    tbs = certificate["tbs_certificate"]
    yield "Certificate"
    yield f"{_INDENT}subject: {_name(tbs['subject'].dump())}"
    yield f"{_INDENT}issuer: {_name(tbs['issuer'].dump())}"
    yield f"{_INDENT}serial: {tbs['serial_number'].native:x}"
    yield f"{_INDENT}validity: {tbs['validity']['not_before'].native} to {tbs['validity']['not_after'].native}"
    yield f"{_INDENT}key: {_key(tbs['subject_public_key_info'].dump())}"
    if tbs["extensions"].native is not None:
        yield from _indented(list(_extensions(tbs["extensions"])))
    yield f"{_INDENT}SHA-256: {hashlib.sha256(der).hexdigest()}"
    yield f"{_INDENT}SHA-1: {hashlib.sha1(der, usedforsecurity=False).hexdigest()}"


def _crl(revocations: Any) -> Iterator[str]:
    tbs = revocations["tbs_cert_list"]
    yield "CRL"
    yield f"{_INDENT}issuer: {_name(tbs['issuer'].dump())}"
    yield f"{_INDENT}this update: {tbs['this_update'].native}, next update: {tbs['next_update'].native}"
    revoked = tbs["revoked_certificates"]
    yield f"{_INDENT}revoked: {len(revoked) if revoked.native is not None else 0}"


def _extensions(extensions: Any) -> Iterator[str]:
    for extension in extensions:
        name, value = extension["extn_id"].native, extension["extn_value"]
        critical = ", critical" if extension["critical"].native else ""
        try:
            shown = _extension_value(name, value)
        except (Malformed, ValueError, TypeError):
            shown = f"(unreadable) {value.contents.hex()}"
        yield f"{name}{critical}: {_printable(shown)[:200]}"


def _extension_value(name: str, value: Any) -> str:
    if name == "subject_alt_name":
        return ", ".join(f"{general.kind}:{general.value}" for general in names.parse_general_names(value.contents))
    native = value.parsed.native
    return ", ".join(sorted(native)) if isinstance(native, set) else str(native)


def _recipient(recipient: Any) -> str:
    chosen = recipient.chosen
    if recipient.name == "ktri":
        rid = chosen["rid"]
        if rid.name == "subject_key_identifier":
            who = f"key identifier {rid.native.hex()}"
        else:
            who = f"{_name(rid.chosen['issuer'].dump())}, serial {rid.chosen['serial_number'].native:x}"
        return f"{who}, {_algorithm(chosen['key_encryption_algorithm'])}"
    return "password" if recipient.name == "pwri" else str(recipient.name)


def _algorithm(algorithm: Any) -> str:
    return str(algorithm["algorithm"].native)


def _key(spki: bytes) -> str:
    try:
        public = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        return "cannot be read"
    if isinstance(public, rsa.RSAPublicKey):
        return f"RSA, {public.key_size} bits, e = {public.public_numbers().e}"
    return f"EC, {public.curve.name}" if isinstance(public, ec.EllipticCurvePublicKey) else type(public).__name__


def _name(der: bytes) -> str:
    try:
        return names.rfc4514(der) or "(empty)"
    except Malformed as error:
        return f"(unreadable: {error})"


def _names(data: bytes, *labels: str) -> Iterator[str]:
    for label, element in zip(labels, asn1.members(asn1.tlv(data)), strict=True):
        yield f"{label}: {_name(asn1.der(element))}"
