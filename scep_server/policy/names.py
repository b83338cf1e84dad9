"""Which names may enter a certificate (N16, N15, R78).

The subject keeps the DER of the request, so it must be fit to be signed as it is:

- DirectoryString types (UTF8String, PrintableString, T61String, BMPString), IA5String for emailAddress and DC only;
  a PrintableString must keep to its alphabet.
- no empty part; no control, format, bidirectional or unassigned character, so no NUL, CR, LF or U+202E.
- no multi-valued RDN, which tools print and compare differently; nothing that looks like another RDN inside a value
  (`/CN=`); not the same type and value twice. Several different CNs stay possible: directories have such names.
- not the name of a CA or RA of ours.

Subject alternative names pass by allow-list of their type; a listed type that is badly formed is refused, an unlisted
type is dropped. What passes is encoded anew, except otherName, registeredID and directoryName.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote, urlsplit

from scep_server.codec import asn1, names
from scep_server.codec.names import GeneralName, NamePart
from scep_server.errors import Reason, Refusal
from scep_server.types import IntegrationOptions

MAX_URI: Final = 1024
MAX_DNS: Final = 253
MAX_LOCAL_PART: Final = 64
"""Characters."""

SID_URI: Final = "tag:microsoft.com,2022-09-14:sid:"
"""Windows domain controllers take the SID behind it for the account to log on: only a vouched-for one may pass."""

_DIRECTORY_STRINGS: Final = frozenset({0x0C, 0x13, 0x14, 0x1E})
_PRINTABLE_STRING: Final = 0x13
_IA5_STRING: Final = 0x16
_IA5_TYPES: Final = frozenset({"1.2.840.113549.1.9.1", "0.9.2342.19200300.100.1.25"})

_PRINTABLE: Final = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")
_HIDDEN_RDN: Final = re.compile(r"[/,+;]\s*(?:CN|OU?|DC|C|L|ST|UID|SERIALNUMBER|E|EMAILADDRESS)\s*=", re.IGNORECASE)
_DNS_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_LOCAL_PART: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%{}]+")
# Categories that a reader cannot see or that change what is seen (N16): controls, formats (bidirectional ones too),
# surrogates, private use, unassigned, line and paragraph separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_CONFUSABLE_SCRIPTS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})


def check_subject(subject: bytes, *, forbidden_subjects: Iterable[bytes]) -> None:
    """Refusal with Reason.SUBJECT when this Name (DER) must not be certified. The empty Name passes here."""
    rdns = names.rdns(subject)
    texts: dict[str, list[str]] = {}
    for rdn in rdns:
        if len(rdn) != 1:
            raise Refusal(Reason.SUBJECT, "multi-valued RDN")
        part = rdn[0]
        texts.setdefault(part.oid, []).append(_checked_text(part))
    for oid, values in texts.items():
        if len(values) > 1 and len(set(map(names.prepare_text, values))) < len(values):
            raise Refusal(Reason.SUBJECT, f"the same {oid} twice")
    if rdns and any(names.same_name(subject, forbidden) for forbidden in forbidden_subjects):
        raise Refusal(Reason.SUBJECT, "the name of a CA or RA", security=True)


def judge_san(
    san: bytes, options: IntegrationOptions, *, forbidden_subjects: Iterable[bytes] = ()
) -> tuple[tuple[GeneralName, ...], tuple[str, ...]]:
    """Granted names, and a note for each name dropped, of a requested GeneralNames (DER).

    Refusal with Reason.SAN for a listed type with a bad value, and for a URI that claims a SID without allow_sid_uri.
    """
    granted: list[GeneralName] = []
    dropped: list[str] = []
    for name in names.parse_general_names(san):
        # Before the type is judged: the intent is bad whether or not it would have passed.
        if name.kind == "uri" and claims_sid(name.value) and not options.allow_sid_uri:
            raise Refusal(Reason.SAN, "URI that claims a SID", security=True)
        if name.kind not in options.san_types:
            dropped.append(f"san {name.kind}")
            continue
        checked = _checked_general_name(name, forbidden_subjects)
        if checked in granted:
            dropped.append(f"san {name.kind} twice")
        else:
            granted.append(checked)
    return tuple(granted), tuple(dropped)


def claims_sid(uri: str) -> bool:
    """Whether a URI carries a security identifier for Windows' strong mapping, however it is escaped."""
    for _ in range(3):
        uri = unquote(uri)
    return SID_URI in uri.casefold()


def _checked_text(part: NamePart) -> str:
    allowed = _DIRECTORY_STRINGS | {_IA5_STRING} if part.oid in _IA5_TYPES else _DIRECTORY_STRINGS
    if part.text is None or part.tag not in allowed:
        raise Refusal(Reason.SUBJECT, f"string type 0x{part.tag:02x} in {part.oid}")
    if part.tag == _PRINTABLE_STRING and not _PRINTABLE.fullmatch(part.text):
        raise Refusal(Reason.SUBJECT, f"{part.oid} leaves the alphabet of PrintableString")
    if not part.text.strip():
        raise Refusal(Reason.SUBJECT, f"empty {part.oid}")
    if has_unseen(part.text):
        raise Refusal(Reason.SUBJECT, f"control or format character in {part.oid}")
    if "=" in part.text and _HIDDEN_RDN.search(part.text):
        raise Refusal(Reason.SUBJECT, f"a value of {part.oid} that reads as another RDN")
    return part.text


def has_unseen(text: str) -> bool:
    """Whether a text has characters that a reader cannot see, or that change what is seen around them."""
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(character) in _UNSEEN for character in text)


def _checked_general_name(name: GeneralName, forbidden_subjects: Iterable[bytes]) -> GeneralName:
    match name.kind:
        case "dns":
            _check_dns(name.value)
        case "email":
            _check_email(name.value)
        case "uri":
            _check_uri(name.value)
        case "upn":
            _check_upn(name.value)
        case "dirname":
            return _checked_directory_name(name, forbidden_subjects)
        case "rid":
            return name
        case "other":
            if name.value == names.UPN or not name.value[0].isdigit():
                raise Refusal(Reason.SAN, f"otherName {name.value}")
            return name
    return names.general_name(name.kind, name.value)


def _check_dns(value: str) -> None:
    if "*" in value:
        raise Refusal(Reason.SAN, "wildcard dNSName")
    if value.endswith("."):
        raise Refusal(Reason.SAN, "dNSName with a trailing dot")
    labels = value.split(".")
    if len(value) > MAX_DNS or not all(map(_DNS_LABEL.fullmatch, labels)):
        raise Refusal(Reason.SAN, "dNSName is no host name")
    if labels[-1].isdigit():
        raise Refusal(Reason.SAN, "dNSName that is an address")
    for label in labels:
        if label.lower().startswith("xn--"):
            _check_a_label(label)


def _check_a_label(label: str) -> None:
    """RFC 5890 A-label: it must decode, encode back to itself, and not mix scripts that look alike."""
    try:
        text = label.encode("ascii").decode("idna")
        again = text.encode("idna").decode("ascii")
    except UnicodeError:
        raise Refusal(Reason.SAN, "dNSName with an invalid A-label") from None
    scripts = {unicodedata.name(character, "?").split()[0] for character in text}
    if again.lower() != label.lower() or has_unseen(text) or len(scripts & _CONFUSABLE_SCRIPTS) > 1:
        raise Refusal(Reason.SAN, "dNSName with a confusable A-label")


def _check_email(value: str) -> None:
    local, at, domain = value.rpartition("@")
    if not at or len(local) > MAX_LOCAL_PART or not _LOCAL_PART.fullmatch(local):
        raise Refusal(Reason.SAN, "rfc822Name is no mailbox")
    _check_dns(domain)


def _check_uri(value: str) -> None:
    if len(value) > MAX_URI or not _URI.fullmatch(value):
        raise Refusal(Reason.SAN, "uniformResourceIdentifier is no absolute URI")
    try:
        host = urlsplit(value).hostname or ""
    except ValueError:
        raise Refusal(Reason.SAN, "uniformResourceIdentifier with a bad authority") from None
    if "*" in host:
        raise Refusal(Reason.SAN, "uniformResourceIdentifier with a wildcard host")


def _check_upn(value: str) -> None:
    user, at, realm = value.rpartition("@")
    if not (user and at and realm) or has_unseen(value) or any(character.isspace() for character in realm):
        raise Refusal(Reason.SAN, "otherName is no user principal name")


def _checked_directory_name(name: GeneralName, forbidden_subjects: Iterable[bytes]) -> GeneralName:
    try:
        check_subject(bytes(asn1.tlv(name.der).data), forbidden_subjects=forbidden_subjects)
    except Refusal as refusal:
        raise Refusal(Reason.SAN, f"directoryName: {refusal.detail}", security=refusal.security) from None
    return name
