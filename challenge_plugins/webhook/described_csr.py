"""A certification request in words that a receiver can judge without a parser of its own.

Nothing is ever cut: what cannot be told in full is null. What `cryptography` reads is told only where it reads the same
bytes as the house, so that a receiver never judges another name than the one that would be certified.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from scep_server.types import CertificationRequest, Extension

MAX_TEXT: Final = 4096
"""Characters of a subject or of one alternative name."""
MAX_ITEMS: Final = 128
"""Alternative names, and requested extensions."""
UPN: Final = "1.3.6.1.4.1.311.20.2.3"
_UNREADABLE: Final = (
    *(ValueError, TypeError, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType),
)
"""What `cryptography` raises over requests that it does not like."""
_SAN: Final = ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string
_PLAIN: Final = {
    x509.DNSName: "dns",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "uri",
    x509.IPAddress: "ip",
}

T = TypeVar("T")


def described(request: CertificationRequest, *, with_challenge: bool) -> dict[str, Any]:
    """`csr` of a question. Never fails: a field that cannot be read is None. The DER holds the challenge, so without
    that it is None too.
    """
    csr = _readable(lambda: x509.load_der_x509_csr(request.der))
    subject = _readable(lambda: csr.subject) if csr is not None else None
    if subject is not None and _readable(subject.public_bytes) != request.subject:
        subject = None
    oids = [extension.oid for extension in request.extensions]
    return {
        "der": base64.b64encode(request.der).decode() if with_challenge or not request.challenge else None,
        "subject": _bounded(_readable(subject.rfc4514_string)) if subject is not None else None,
        "common_name": _common_name(subject) if subject is not None else None,
        "sans": _readable(lambda: _sans(csr, request.extensions)),
        "key": {"type": key_type(request), "size": key_size(request), "sha256": request.key_hash.hex()},
        "signature_algorithm": request.signature_algorithm,
        "requested_extensions": oids if len(oids) <= MAX_ITEMS else None,
    }


def key_type(request: CertificationRequest) -> str:
    """`RSA`, `EC`, or the name of the class of anything else."""
    key = request.public_key
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    return "EC" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__


def key_size(request: CertificationRequest) -> int | None:
    """Bits of the modulus or of the curve's field."""
    key = request.public_key
    return key.key_size if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else None


def _common_name(subject: x509.Name) -> str | None:
    """The one common name; None for none and for several, of which any choice would be a wrong one."""
    found = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(found) != 1 or not isinstance(found[0].value, str):
        return None
    return _bounded(found[0].value)


def _sans(csr: x509.CertificateSigningRequest | None, extensions: tuple[Extension, ...]) -> list[dict[str, str]] | None:
    asked = [extension for extension in extensions if extension.oid == _SAN]
    if not asked:
        return []
    if csr is None or len(asked) != 1:
        return None
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if names.public_bytes() != asked[0].value or len(list(names)) > MAX_ITEMS:
        return None
    told = [_san(name) for name in names]
    return told if all(_bounded(one["value"]) is not None for one in told) else None


def _san(name: x509.GeneralName) -> dict[str, str]:
    """Types are the words of a binding (`names.sans` of an answer), where it has one."""
    for kind, word in _PLAIN.items():
        if isinstance(name, kind):
            return {"type": word, "value": str(name.value)}
    if isinstance(name, x509.DirectoryName):
        return {"type": "dirname", "value": name.value.rfc4514_string()}
    if isinstance(name, x509.RegisteredID):
        return {"type": "rid", "value": name.value.dotted_string}
    if not isinstance(name, x509.OtherName):
        raise TypeError(type(name).__name__)
    upn = _utf8_string(name.value) if name.type_id.dotted_string == UPN else None
    if upn is not None:
        return {"type": "upn", "value": upn}
    return {"type": "other", "value": f"{name.type_id.dotted_string};{base64.b64encode(name.value).decode()}"}


def _utf8_string(der: bytes) -> str | None:
    """Text of a UTF8String shorter than 128 bytes, which every user principal name in use is; None otherwise."""
    if len(der) < 2 or der[0] != 0x0C or der[1] >= 0x80 or der[1] != len(der) - 2:
        return None
    return der[2:].decode()


def _bounded(text: str | None) -> str | None:
    return text if text is not None and len(text) <= MAX_TEXT else None


def _readable(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except _UNREADABLE:
        return None
