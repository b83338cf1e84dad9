"""One signed POST to the receiver, and its answer, verified where it is signed."""

from __future__ import annotations

from typing import Final

from challenge_plugins.webhook.answers import MAX_ANSWER
from challenge_plugins.webhook.messages import Message
from challenge_plugins.webhook.settings import WebhookSettings
from challenge_plugins.webhook.signature import ID_HEADER, SIGNATURE_HEADER, sign, verifies_answer
from scep_server.errors import PluginFault
from scep_server.interfaces import Outbound
from scep_server.types import HttpAnswer

CONTENT_TYPE: Final = "application/json"


class BadAnswerSignature(PluginFault):
    """Somebody answered who does not share our secret, or the answer was altered on its way."""


class Endpoint:
    """The receiver of one integration."""

    def __init__(self, settings: WebhookSettings, outbound: Outbound) -> None:
        self._settings = settings
        self._outbound = outbound

    async def post(self, url: str, message: Message, seconds: float, *, signature: str | None = None) -> HttpAnswer:
        """Any answer whose signature does not contradict it. BadAnswerSignature; OutboundFault where none came within
        the seconds. signature: another header value than the right one, to see it refused.
        """
        secrets = self._settings.secrets
        headers = {
            "Content-Type": CONTENT_TYPE,
            "Accept": CONTENT_TYPE,
            ID_HEADER: message.id,
            SIGNATURE_HEADER: signature or sign(secrets, message.timestamp, message.id, message.body),
        }
        if self._settings.authorization is not None:
            headers["Authorization"] = self._settings.authorization
        answer = await self._outbound.request(
            "POST", url, headers=headers, body=message.body, timeout=seconds, max_bytes=MAX_ANSWER
        )
        self._check_signature(message, answer)
        return answer

    def _check_signature(self, message: Message, answer: HttpAnswer) -> None:
        """A signature that is there must be right. Only a 200 decides anything, so only it must have one."""
        signature = answer.headers.get(SIGNATURE_HEADER.lower())
        if signature is None:
            if self._settings.require_signed_answer and answer.status == 200:
                raise BadAnswerSignature("the webhook receiver's answer is not signed")
        elif not verifies_answer(self._settings.secrets, signature, message.id, answer.body):
            raise BadAnswerSignature("the signature of the webhook receiver's answer is wrong")
