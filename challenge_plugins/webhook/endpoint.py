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
SIGNATURE_NAME: Final = SIGNATURE_HEADER.lower()
"""As the headers of an answer have it."""


class BadAnswerSignature(PluginFault):
    """Somebody answered who does not share our secret, or the answer was altered on its way."""


class UnsignedAnswer(PluginFault):
    """A decision without a signature, where the operator wants one."""


class Endpoint:
    """The receiver of one integration."""

    def __init__(self, settings: WebhookSettings, outbound: Outbound) -> None:
        self._settings = settings
        self._outbound = outbound

    async def ask(self, message: Message, seconds: float, *, signature: str | None = None) -> HttpAnswer:
        """Any answer to a question or ping. BadAnswerSignature, UnsignedAnswer; OutboundFault where none came within
        these seconds. signature: another header value than the right one, to see it refused.
        """
        answer = await self._post(self._settings.url, message, seconds, signature)
        # Only a 200 decides anything, so only it must have a signature.
        if self._settings.require_signed_answer and answer.status == 200 and SIGNATURE_NAME not in answer.headers:
            raise UnsignedAnswer("the webhook receiver's answer is not signed, and require_signed_answer is on")
        return answer

    async def tell(self, message: Message, seconds: float) -> HttpAnswer:
        """Any answer to a notice. It decides nothing, so it need not be signed; otherwise as ask."""
        return await self._post(self._settings.notify_url, message, seconds)

    async def _post(self, url: str, message: Message, seconds: float, signature: str | None = None) -> HttpAnswer:
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
        signed = answer.headers.get(SIGNATURE_NAME)
        if signed is not None and not verifies_answer(secrets, signed, message.id, answer.body):
            raise BadAnswerSignature("the signature of the webhook receiver's answer is wrong")
        return answer
