"""How products that know Microsoft's challenge page cut the challenge out of it, written from what is known of each.

None of this is theirs: each is the decoding and the pattern a product is known to use, so that a page can be held
against all of them. `None` is a consumer that found no challenge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

LABEL: Final = "The enrollment challenge password is: <B> "

Consumer = Callable[[bytes, str], str | None]
"""Body and Content-Type to the challenge."""


def fleet(body: bytes, content_type: str) -> str | None:
    """Fleet, for NDES and for Okta alike."""
    head = body[:100]
    odd = head[1::2]
    if body.startswith((b"\xff\xfe", b"\x3c\x00")) or (odd and odd.count(0) >= 0.9 * len(odd)):
        text = body.removeprefix(b"\xff\xfe").decode("utf-16-le", "replace")
    else:
        text = body.decode(_declared(body, content_type), "replace")
    found = re.search(r"(?i)The enrollment challenge password is: <B> (?P<password>\S*)", text)
    return found["password"] if found else None


def fleet_error(body: bytes, content_type: str) -> str | None:
    """Which trouble Fleet tells its administrator; looked for only where no challenge was found."""
    text = body.decode("utf-16-le" if body.startswith(b"\x3c\x00") else "utf-8", "replace")
    if fleet(body, content_type) is not None:
        return None
    for sentence in ("The password cache is full.", "You do not have sufficient permission to enroll with SCEP."):
        if sentence in text:
            return sentence
    return None


def zentral_microsoft(body: bytes, content_type: str) -> str | None:
    """Zentral with a Microsoft CA: UTF-16 or nothing."""
    return _strict(body, "utf-16", r"challenge password is: <B> ([A-Z0-9]{16,32}) </B>")


def zentral_okta(body: bytes, content_type: str) -> str | None:
    """Zentral with Okta's CA: a single-byte encoding or nothing."""
    return _strict(body, "windows-1252", r"challenge password is: <B> ([a-zA-Z0-9_\-]+) </B>")


def manageengine(body: bytes, content_type: str) -> str | None:
    """ManageEngine MDM: one encoding after the other until the phrase is there. UTF-16 without a mark is big-endian."""
    for encoding in ("utf-16", "utf-8", "ascii", "utf-16-be", "utf-16-le", "iso-8859-1"):
        unmarked = encoding == "utf-16" and not body.startswith((b"\xff\xfe", b"\xfe\xff"))
        try:
            text = body.decode("utf-16-be" if unmarked else encoding)
        except UnicodeDecodeError:
            continue
        _, found, rest = text.partition(LABEL)
        challenge, ended, _ = rest.partition(" </B> <P> This password can be used only once")
        if found and ended:
            return challenge
    return None


def python_tool(body: bytes, content_type: str) -> str | None:
    """A Python tool for NDES: UTF-16, cut at every `>`, one space before the sentence."""
    try:
        pieces = body.decode("utf-16").split(">")
    except UnicodeDecodeError:
        return None
    for place, piece in enumerate(pieces[:-1]):
        if piece == " The enrollment challenge password is: <B":
            return pieces[place + 1].split("<")[0].strip()
    return None


def nornir(body: bytes, content_type: str) -> str | None:
    """A nornir script: the page through an HTML parser, which writes tags in lower case."""
    text = re.sub(r"<[^ >]*", lambda tag: tag[0].lower(), body.decode(_declared(body, content_type), "replace"))
    found = re.search(r"The enrollment challenge password is: <b> ([A-Z0-9]+) ", text)
    return found[1] if found else None


def c_sharp_client(body: bytes, content_type: str) -> str | None:
    """A C# test client: the encoding that HTTP declares, hexadecimal challenges."""
    text = body.decode(_declared(body, content_type), "replace")
    found = re.search(r"(?is)challenge password.*?([0-9A-Fa-f]{8,64})", text)
    return found[1] if found else None


def fixed_length(body: bytes, content_type: str) -> str | None:
    """Workspace ONE's form has the challenge's length in it (32): so many characters after the label."""
    _, found, rest = body.decode(_declared(body, content_type), "replace").partition(LABEL)
    return rest[:32] if found and not rest[:32].isspace() else None


def awk_script(body: bytes, content_type: str) -> str | None:
    """A shell script that cuts at `password is: <B> ` and ` </B>` and takes what is between."""
    pieces = re.split(r"password is: <B> | </B>", body.decode("latin-1"))
    return pieces[2] if len(pieces) > 3 else None


def manageengine_full(body: bytes) -> bool:
    """What ManageEngine tells its administrator by."""
    return any("The password cache is full" in body.decode(encoding, "replace") for encoding in ("utf-8", "utf-16-le"))


def python_tool_full(body: bytes) -> bool:
    """What the Python tool for NDES tells its user by, in the one encoding that it reads."""
    return "cache is full" in body.decode("utf-16", "replace")


ALL: Final[Mapping[str, Consumer]] = {
    "Fleet": fleet,
    "Zentral, Microsoft": zentral_microsoft,
    "Zentral, Okta": zentral_okta,
    "ManageEngine": manageengine,
    "Python tool": python_tool,
    "nornir": nornir,
    "C# client": c_sharp_client,
    "fixed length": fixed_length,
    "awk": awk_script,
}
READ_UTF_8: Final = frozenset({"Fleet", "Zentral, Okta", "ManageEngine", "nornir", "C# client", "fixed length", "awk"})
READ_UTF_16: Final = frozenset({"Fleet", "Zentral, Microsoft", "ManageEngine", "Python tool"})
"""Little-endian and declared by nothing, as Windows sends it."""


def _strict(body: bytes, encoding: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, body.decode(encoding))
    except UnicodeDecodeError:
        return None
    return found[1] if found else None


def _declared(body: bytes, content_type: str) -> str:
    """What HTTP says, a byte order mark, what the page says, or UTF-8."""
    in_http = re.search(r"(?i)charset=([\w-]+)", content_type)
    if in_http:
        return in_http[1]
    if body.startswith(b"\xff\xfe"):
        return "utf-16"
    in_page = re.search(rb"(?i)charset=([\w-]+)", body[:1024])
    return in_page[1].decode() if in_page else "utf-8"
