"""Checks of the two bodies of the revocation service."""

from __future__ import annotations

from typing import Any, Literal

from tests.simulators.intune.checks import exact_keys, violation
from tests.simulators.intune.codes import REVOCATION_ERRORS

DOWNLOAD_KEYS = frozenset({"maxRequests", "issuerName"})
RESULT_KEYS = frozenset({"requestContext", "succeeded", "errorCode", "errorMessage"})
NAMES = {str(number): name for name, number in REVOCATION_ERRORS.items()}
Spelling = Literal["name", "number"]


def download(body: Any) -> list[str]:
    """downloadRevocationRequests."""
    outer = exact_keys("1.5-keys", "the body", body, frozenset({"downloadParameters"}))
    inner = body.get("downloadParameters")
    if wrong := outer or exact_keys("1.5-keys", "downloadParameters", inner, DOWNLOAD_KEYS):
        return wrong
    found = []
    if type(inner["maxRequests"]) is not int or not 1 <= inner["maxRequests"] <= 500:
        found.append(violation("1.5-maximum", f"maxRequests {inner['maxRequests']!r}"))
    if not isinstance(inner["issuerName"], str | None):
        found.append(violation("1.5-issuer", f"issuerName {inner['issuerName']!r}"))
    return found


def upload(body: Any) -> list[str]:
    """uploadRevocationResults, without what only the service knows: contexts handed out and the spelling in use."""
    if outer := exact_keys("1.5-keys", "the body", body, frozenset({"results"})):
        return outer
    results = body["results"]
    if not isinstance(results, list) or not results:
        return [violation("1.5-results", f"results is {type(results).__name__} without elements")]
    for number, result in enumerate(results):
        if wrong := exact_keys("1.5-keys", f"results[{number}]", result, RESULT_KEYS):
            return wrong
    contexts = [result["requestContext"] for result in results]
    found = [] if len({str(each) for each in contexts}) == len(contexts) else [violation("1.5-results", "repeated")]
    return found + [text for result in results for text in _result(result)]


def spelling(error_code: str) -> Spelling:
    """Which of the two accepted forms of errorCode this is."""
    return "number" if error_code in NAMES else "name"


def name_of(error_code: str) -> str:
    """The error's name, whichever form it came in."""
    return NAMES.get(error_code, error_code)


def _result(result: dict[str, Any]) -> list[str]:
    found = []
    code, succeeded, message = result["errorCode"], result["succeeded"], result["errorMessage"]
    if not isinstance(result["requestContext"], str):
        found.append(violation("1.5-context", f"requestContext {result['requestContext']!r}"))
    if not isinstance(message, str | None):
        found.append(violation("1.5-message", f"errorMessage is a {type(message).__name__}"))
    if not isinstance(code, str) or name_of(code) not in REVOCATION_ERRORS:
        return [*found, violation("1.5-error-code", f"errorCode {code!r}")]
    fine = name_of(code) == "None"
    if not isinstance(succeeded, bool):
        found.append(violation("1.5-succeeded", f"succeeded {succeeded!r}"))
    elif succeeded != fine or (succeeded and message is not None):
        found.append(violation("1.5-succeeded", f"succeeded {succeeded} with {code} and message {message!r}"))
    return found
