"""`GET /scep/{integration}/mscep_admin/`: one challenge a request, for MDMs that know NDES."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from challenge_plugins.dynamic.credentials import Credentials, Way
from challenge_plugins.dynamic.door import Door, TurnedAway
from challenge_plugins.dynamic.minting import Mint
from challenge_plugins.dynamic.page import challenge_page, denied_page, full_page
from challenge_plugins.dynamic.settings import MintRules
from scep_server.errors import ChallengesFull
from scep_server.interfaces import Host
from scep_server.types import HttpAnswer, HttpRequest, MintOrder

ENCODINGS: Final = {
    "utf-8": ("utf-8", "text/html; charset=utf-8"),
    "utf-16le": ("utf-16-le", "text/html"),
}
"""Setting to codec and content type. Windows sends UTF-16LE without saying so, neither in a header nor by a byte order
mark; some clients read nothing else.
"""


class ChallengePage:
    """Answers one integration's route. HTTP 200 for the two error pages, as NDES does; MDMs look at the words."""

    def __init__(self, host: Host, credentials: Credentials, rules: MintRules, mint: Mint, encoding: str) -> None:
        self._host = host
        self._door = Door(host, credentials, rules, "GET", {Way.BASIC})
        self._mint = mint
        self._minutes = rules.lifetime // timedelta(minutes=1)
        self._codec, self._content_type = ENCODINGS[encoding]

    async def answer(self, request: HttpRequest) -> HttpAnswer:
        """Mint for whoever shows the login; a probe without one, or with NTLM or Negotiate, mints nothing."""
        try:
            credential = await self._door.admit(request)
        except TurnedAway as turned:
            return turned.plain()
        if not self._host.enabled():
            return self._page(denied_page())
        self._door.pace(credential, 1)
        try:
            (minted,) = await self._mint.mint((MintOrder(),), credential.label, request.source.address)
        except ChallengesFull:
            return self._page(full_page(self._minutes))
        return self._page(challenge_page(minted.challenge, self._host.issuer()[0].der, self._minutes))

    def _page(self, text: str) -> HttpAnswer:
        return HttpAnswer(200, text.encode(self._codec), self._content_type)
