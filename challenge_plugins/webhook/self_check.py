"""`scep-server integration test`: does the receiver answer, do we share a secret, and does it look at signatures?"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Final

from challenge_plugins.webhook.answers import check_pong
from challenge_plugins.webhook.endpoint import BadAnswerSignature, Endpoint, UnsignedAnswer
from challenge_plugins.webhook.messages import ping
from challenge_plugins.webhook.settings import WebhookSettings
from challenge_plugins.webhook.signature import sign
from scep_server.errors import Fault, OutboundFault
from scep_server.interfaces import Host
from scep_server.types import Finding, HttpAnswer

REACH: Final = "reach the receiver"
ACCEPT: Final = "ping with our signature"
REJECT: Final = "ping with a wrong signature"
TELL: Final = "ping the address for notices"

_CONNECTION_REMEDIES: Final = {
    "name": "correct the host name in `url`, or this machine's name service",
    "refused": "start the receiver, or correct the port in `url`",
    "tls": "speak TLS at the port in `url`, send the whole chain, and name a private CA in `ca_file` of [outbound]",
    "timeout": "open the way to the receiver (firewall, proxy), or raise `timeout_seconds`",
    "proxy": "correct the proxy in [outbound]",
    "too_large": "answer with the JSON of docs/webhook.md and nothing else",
    "other": "correct host and port in `url`, open the way there (route, firewall), or look into the receiver's log",
}
_SIGN_IT: Final = "sign answers as docs/webhook.md says, or set `require_signed_answer` to off"
_SHARE_IT: Final = "give the receiver this integration's signing_secret (`integration show NAME --reveal`)"


async def findings(settings: WebhookSettings, endpoint: Endpoint, host: Host) -> Sequence[Finding]:
    """In order; what could not be tried any more is not listed."""
    asked = ping(host.integration, host.clock())
    where = _host_of(settings.url)
    try:
        answer = await endpoint.ask(asked, settings.timeout)
    except OutboundFault as error:
        return [Finding(REACH, False, str(error), _remedy(error))]
    except (BadAnswerSignature, UnsignedAnswer) as error:
        remedy = _SIGN_IT if isinstance(error, UnsignedAnswer) else _SHARE_IT
        return [Finding(REACH, True, where), Finding(ACCEPT, False, str(error), remedy)]
    found = [Finding(REACH, True, where), _accepted(answer, asked.id)]
    if found[-1].passed:
        found.append(await _rejected(settings, endpoint, host))
    if settings.notify and settings.notify_url != settings.url:
        found.append(await _notified(settings, endpoint, host))
    return found


def _accepted(answer: HttpAnswer, ping_id: str) -> Finding:
    try:
        check_pong(answer, ping_id)
    except Fault as error:
        remedies = {
            401: _SHARE_IT + ", and its `authorization` if it wants one",
            403: _SHARE_IT + ", and its `authorization` if it wants one",
            404: "correct the path in `url`",
            405: "let the receiver take POST at that path, or correct the path in `url`",
            409: "the receiver has seen a new id before: correct its replay protection",
        }
        return Finding(ACCEPT, False, str(error), remedies.get(answer.status, "answer pings as docs/webhook.md says"))
    return Finding(ACCEPT, True, "the receiver answered pong")


async def _rejected(settings: WebhookSettings, endpoint: Endpoint, host: Host) -> Finding:
    """A receiver that answers strangers lets them try challenges, past our limits."""
    asked = ping(host.integration, host.clock())
    wrong = sign([bytes(32)], asked.timestamp, asked.id, asked.body)
    try:
        answer = await endpoint.ask(asked, settings.timeout, signature=wrong)
    except Fault as error:
        return Finding(REJECT, False, str(error), "let the receiver answer a wrong signature with 401")
    if 400 <= answer.status < 500:
        return Finding(REJECT, True, f"refused with {answer.status}")
    return Finding(
        REJECT, False, f"answered {answer.status}", "let the receiver verify signatures before it does anything else"
    )


async def _notified(settings: WebhookSettings, endpoint: Endpoint, host: Host) -> Finding:
    where = _host_of(settings.notify_url)
    try:
        answer = await endpoint.tell(ping(host.integration, host.clock()), settings.timeout)
    except OutboundFault as error:
        return Finding(TELL, False, str(error), _remedy(error).replace("`url`", "`notify_url`"))
    except BadAnswerSignature as error:
        return Finding(TELL, False, str(error), _SHARE_IT)
    if 200 <= answer.status < 300:
        return Finding(TELL, True, f"{where} answered {answer.status}")
    remedy = _SHARE_IT if answer.status in {401, 403} else "correct `notify_url`, or take pings there"
    return Finding(TELL, False, f"{where} answered {answer.status}", remedy)


def _remedy(error: OutboundFault) -> str:
    return _CONNECTION_REMEDIES.get(error.kind, "look into the receiver's log")


def _host_of(url: str) -> str:
    """Host and port; paths and queries may hold what is nobody's business."""
    return urllib.parse.urlsplit(url).netloc
