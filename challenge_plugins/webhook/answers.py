"""What a receiver answers, read strictly: whatever is not plainly one of its words is a fault of ours, never a yes.

{"request_id": "<id of the question>", "decision": "allow" | "deny" | "pending",
 "reason": "for our audit log", "wrong_challenge": false, "names": {"subject", "sans", "device_ids"}}
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from scep_server.errors import PluginFault
from scep_server.types import UNBOUND, HttpAnswer, NameBinding

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer."""
MAX_REASON: Final = 200
"""Characters of a reason that reach the audit log."""
MAX_NAME: Final = 1024
MAX_NAMES: Final = 128
SHORTEST_DEVICE_ID: Final = 4
"""The house takes a shorter one for no identifier, so a certificate bound to it could never be issued."""
LONGEST_WAIT: Final = 3600
"""Seconds of a receiver's Retry-After that are passed on."""
SAN_TYPES: Final = frozenset({"dns", "email", "uri", "ip", "upn"})
DECISIONS: Final = frozenset({"allow", "deny", "pending"})
_FIELDS: Final = {
    "request_id": str,
    "decision": str,
    "reason": str,
    "wrong_challenge": bool,
    "names": dict,
}
_NAMES: Final = frozenset({"subject", "sans", "device_ids"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """A receiver's decision."""

    decision: str
    """`allow`, `deny` or `pending`."""
    reason: str = ""
    """Printable and bounded; for the audit log."""
    wrong_challenge: bool = False
    """A denied device presented a challenge that nobody has: counts as a guess (N18)."""
    binding: NameBinding = UNBOUND


def verdict(answer: HttpAnswer, question_id: str, canonical_subject: Callable[[str], str]) -> Verdict:
    """The decision in an answer of status 200 to the question of this id. PluginFault for everything else."""
    check_status(answer)
    said = _read(answer, question_id)
    decision = said["decision"]
    if decision not in DECISIONS:
        raise _wrong("the decision is none of allow, deny and pending")
    wrong_challenge = said.get("wrong_challenge", False)
    if wrong_challenge and decision != "deny":
        raise _wrong("a wrong challenge can only be denied")
    if "names" in said and decision == "deny":
        raise _wrong("names go with allow and pending only")
    binding = _binding(said["names"], canonical_subject) if "names" in said else UNBOUND
    return Verdict(decision, _printable(said.get("reason", "")), wrong_challenge, binding)


def check_pong(answer: HttpAnswer, ping_id: str) -> None:
    """PluginFault unless the receiver answered a ping."""
    check_status(answer)
    if _read(answer, ping_id)["decision"] != "pong":
        raise _wrong('the decision about a ping is "pong"')


def check_status(answer: HttpAnswer) -> None:
    """PluginFault unless the status is 200. A receiver says no by a decision, never by a status: what answers 403 or
    404 may as well be a proxy, or another site at that address.
    """
    status = answer.status
    if status == 200:
        return
    if status in {401, 403}:
        raise PluginFault(f"the webhook receiver answered {status}: it takes neither our signature nor authorization")
    if 300 <= status < 400:
        raise PluginFault(f"the webhook receiver answered {status}: redirects are not followed")
    raise PluginFault(f"the webhook receiver answered {status}, not 200", retry_after=retry_after(answer))


def retry_after(answer: HttpAnswer) -> int | None:
    """Seconds that a 429 or 503 asks to wait, an hour at most; None where it does not say."""
    text = answer.headers.get("retry-after", "")
    if answer.status not in {429, 503} or not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    return min(max(int(text), 1), LONGEST_WAIT)


def _read(answer: HttpAnswer, question_id: str) -> Mapping[str, Any]:
    """The JSON object, with only known fields of the right types, that repeats the id of what was asked."""
    media_type = answer.headers.get("content-type", answer.content_type).partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _wrong("the content type is not application/json")
    if len(answer.body) > MAX_ANSWER:
        raise _wrong(f"it has more than {MAX_ANSWER} bytes")
    try:
        said = json.loads(answer.body.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _wrong("it is no JSON in which each key stands once") from None
    if not isinstance(said, dict):
        raise _wrong("it is no JSON object")
    if set(said) - set(_FIELDS):
        raise _wrong("it has fields that are not known")
    for name in ("request_id", "decision", *said):
        if not isinstance(said.get(name), _FIELDS[name]):
            raise _wrong(f"{name} is missing or of a wrong type")
    if not hmac.compare_digest(said["request_id"].encode("utf-8", "replace"), question_id.encode()):
        raise _wrong("request_id is not the id of the question")
    return said


def _binding(names: Mapping[str, Any], canonical_subject: Callable[[str], str]) -> NameBinding:
    if set(names) - _NAMES:
        raise _wrong("names has fields that are not known")
    subject = names.get("subject")
    if "subject" in names:
        _check_texts("names.subject", [subject])
        try:
            canonical_subject(subject or "")
        except ValueError:
            raise _wrong("names.subject is no name in the form of RFC 4514") from None
    sans = names.get("sans")
    if "sans" in names and not all(_is_san(one) for one in _check_texts("names.sans", sans)):
        raise _wrong("names.sans are texts such as dns:host.example, with dns, email, uri, ip or upn")
    device_ids = names.get("device_ids", [])
    if any(len(one) < SHORTEST_DEVICE_ID for one in _check_texts("names.device_ids", device_ids)):
        raise _wrong(f"names.device_ids have at least {SHORTEST_DEVICE_ID} characters")
    binding = NameBinding(subject, None if sans is None else tuple(sans), tuple(device_ids))
    if not binding:
        raise _wrong("names binds nothing; leave it out to bind nothing")
    return binding


def _check_texts(name: str, values: object) -> list[str]:
    if not isinstance(values, list) or len(values) > MAX_NAMES:
        raise _wrong(f"{name} is no list of at most {MAX_NAMES}")
    for value in values:
        if not isinstance(value, str) or len(value) > MAX_NAME or not value.isprintable():
            raise _wrong(f"{name} is no printable text of at most {MAX_NAME} characters")
    return values


def _is_san(text: str) -> bool:
    kind, _, value = text.partition(":")
    return kind in SAN_TYPES and bool(value.strip())


def _printable(text: str) -> str:
    """Line breaks, escapes and half surrogates have no place in a log (N21)."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_REASON])


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _no_constant(_: str) -> Any:
    raise ValueError("not JSON")


def _wrong(detail: str) -> PluginFault:
    """Tells what is wrong with an answer; what it said is not repeated."""
    return PluginFault(f"the webhook receiver's answer cannot be taken: {detail}")
