"""The page that MDMs read challenges from, in the words of Microsoft's Network Device Enrollment Service.

The sentences and the single spaces inside `<B> ... </B>` are a wire format: MDMs cut the challenge out of them. Only
ASCII, so that it reads the same in every encoding a client may guess.
"""

from __future__ import annotations

import hashlib
from typing import Final

_FRAME: Final = (
    '<HTML><Head><Meta HTTP-Equiv="Content-Type" Content="text/html; charset=UTF-8">'
    "<Title>Network Device Enrollment Service</Title></Head><Body>{content}</Body></HTML>"
)
_CHALLENGE: Final = (
    "<P> To complete certificate enrollment for your network device you will need the following information: "
    "<P> The thumbprint (hash value) for the CA certificate is: <B> {thumbprint} </B> "
    "<P> The enrollment challenge password is: <B> {challenge} </B> "
    "<P> This password can be used only once and will expire within {minutes} minutes. "
    "<P> Each enrollment requires a new challenge password. "
    "You can refresh this web page to obtain a new challenge password. </P>"
)
_FULL: Final = (
    "<P> The password cache is full. "
    "<P> Network Device Enrollment Service stores unused password for later use. "
    "By default, passwords are stored for {minutes} minutes."
    "<P>Use one of the existing passwords. If you cannot use an existing password, wait until one expires, "
    "or ask your system administrator to raise the ceiling of this integration. </P>"
)
_DENIED: Final = (
    "<P> You do not have sufficient permission to enroll with SCEP.  Please contact your system administrator. </P>"
)


def challenge_page(challenge: str, issuer: bytes, minutes: int) -> str:
    """A new challenge. issuer: DER of the issuing CA's certificate. minutes: until the challenge expires."""
    content = _CHALLENGE.format(thumbprint=thumbprint(issuer), challenge=challenge, minutes=minutes)
    return _FRAME.format(content=content)


def full_page(minutes: int) -> str:
    """As many challenges are unspent as the operator allows. minutes: lifetime of one."""
    return _FRAME.format(content=_FULL.format(minutes=minutes))


def denied_page() -> str:
    """Right credentials, but the integration is switched off."""
    return _FRAME.format(content=_DENIED)


def thumbprint(certificate: bytes) -> str:
    """MD5 of a certificate as NDES shows it: four groups of eight upper-case hexadecimal digits."""
    digits = hashlib.md5(certificate, usedforsecurity=False).hexdigest().upper()
    return " ".join(digits[start : start + 8] for start in range(0, 32, 8))
