"""`POST /webhooks/jamf/{integration}`: Jamf Pro asks for the challenge of one profile on one device."""

from __future__ import annotations

from challenge_plugins.dynamic.credentials import Credentials, Way
from challenge_plugins.dynamic.door import Door, TurnedAway
from challenge_plugins.dynamic.minting import Mint
from challenge_plugins.dynamic.orders import MAX_DEVICE_IDS, is_device_id
from challenge_plugins.dynamic.settings import MintRules
from challenge_plugins.jamf.event import NAME, NotReadable, ScepChallengeEvent, event_name, read_event, scep_challenge
from scep_server.errors import ChallengesFull
from scep_server.interfaces import Host
from scep_server.types import UNBOUND, HttpAnswer, HttpRequest, MintOrder, NameBinding


class ScepChallengeWebhook:
    """Answers one integration's route. An event that is sent again gets another challenge, which harms nobody: whoever
    can send it has the credentials.
    """

    def __init__(
        self, host: Host, credentials: Credentials, rules: MintRules, mint: Mint, *, bind_device: bool
    ) -> None:
        self._host = host
        self._door = Door(host, credentials, rules, "POST", {Way.BASIC, Way.HEADER})
        self._mint = mint
        self._bind_device = bind_device

    async def answer(self, request: HttpRequest) -> HttpAnswer:
        """The bare challenge as text, or why there is none."""
        try:
            challenge = await self._challenge(request)
        except TurnedAway as turned:
            return turned.plain()
        except ChallengesFull:
            return HttpAnswer(409, b"As many challenges are unspent as the integration's ceiling allows.\n")
        return HttpAnswer(200, challenge.encode(), "text/plain")

    async def _challenge(self, request: HttpRequest) -> str:
        credential = await self._door.admit(request)
        if not self._host.enabled():
            raise TurnedAway(403, "The integration is switched off.\n")
        event = _read(request)
        order = MintOrder(binding=self._binding(event))
        self._door.pace(credential, 1)
        (minted,) = await self._mint.mint((order,), credential.label, request.source.address, event.said)
        return minted.challenge

    def _binding(self, event: ScepChallengeEvent) -> NameBinding:
        if not self._bind_device or not event.device_ids:
            return UNBOUND
        usable = tuple(filter(is_device_id, event.device_ids))
        if not usable:
            # Unbound would let any device use it; bound to these, none could.
            raise TurnedAway(422, "The event names a device by nothing that a certificate could be searched for.\n")
        return NameBinding(device_ids=usable[:MAX_DEVICE_IDS])


def _read(request: HttpRequest) -> ScepChallengeEvent:
    try:
        members = read_event(request.body, request.headers.get("content-type", ""))
        if event_name(members) != NAME:
            raise TurnedAway(422, f"This address answers {NAME} events only; choose that event in Jamf Pro.\n")
        return scep_challenge(members)
    except NotReadable as error:
        raise TurnedAway(415, f"{error}\n") from None
    except ValueError as error:
        raise TurnedAway(400, f"{error}\n") from None
