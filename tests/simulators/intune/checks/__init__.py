"""Every documented fact about a request, by name; the checks report violations under these names.

The names start with the section of the facts they restate: 1.1 tokens, 1.2 discovery, 1.3 validation calls,
1.4 codes, 1.5 revocation calls.

Takes: a request, or its parsed body. Gives: violations, one text each, empty when the request is as documented.
May touch: nothing.

1.1-method          configuration is fetched by GET, tokens are asked for by POST
1.1-form            the token request is one urlencoded form: grant_type=client_credentials, client_id, scope, each once
1.1-fields          no other form fields than these, the credential and client_info
1.1-credential      exactly one credential: client_secret or client_assertion with its client_assertion_type
1.1-scope           one scope, ending in /.default
1.1-assertion       the assertion is a JWT: PS256 or RS256, x5t or x5t#S256, aud = token URL, iss = sub = client id
1.1-lifetime        the assertion expires within 10 minutes
1.1-jti             an assertion has a jti, and no other assertion has the same
1.1-expiry          tokens are used until before their expiry, never after
1.2-method          discovery is a GET without query
1.2-authorization   discovery carries a bearer token for Graph
1.2-request-id      discovery carries a client-request-id, a GUID fresh for every call
1.3-path            service calls go to {uri}/{suffix} of the documented suffixes
1.3-method          service calls are POSTs
1.3-query           service calls have no query: api-version is a header
1.3-authorization   service calls carry a bearer token for the Intune audience
1.3-content-type    service calls are application/json
1.3-request-id      service calls carry a client-request-id, a GUID fresh for every call
1.3-api-version     validation calls carry api-version: 2018-02-20
1.3-json            the body is one JSON object in UTF-8, no key twice
1.3-keys            exactly the documented keys, camelCase; caConfiguration and certificateAuthority may be absent
1.3-text            transactionId, callerInfo and issuingCertificateAuthority are texts, not empty
1.3-csr             certificateRequest is standard base64 of one DER PKCS#10, no PEM, no line breaks
1.3-thumbprint      certificateThumbprint is the SHA-1 of the certificate, 40 hex digits in either case, no separators
1.3-serial          certificateSerialNumber is hex digits
1.3-expiration      certificateExpirationDateUtc is YYYY-MM-DDThh:mm:ss.sss and Z
1.3-optional        caConfiguration and certificateAuthority are texts or null
1.3-hresult         hResult is a JSON number, positive, 0x8xxxxxxx
1.3-description     errorDescription is a text of at most 255 characters
1.3-order           a notification follows a validateRequest of the same transaction and the same bytes
1.3-own-failures    failureNotification is not sent for what validateRequest itself answered
1.4-fail-closed     no success is notified unless validateRequest answered Success
1.5-api-version     revocation calls carry api-version: 5019-05-05
1.5-keys            exactly the documented keys, camelCase
1.5-maximum         maxRequests is a number, 1 to 500
1.5-issuer          issuerName is a text or null
1.5-results         results is a list, not empty, no requestContext twice
1.5-context         a requestContext is one that was handed to this tenant
1.5-error-code      errorCode is a documented name, or its number as a string
1.5-one-spelling    errorCode is always a name or always a number
1.5-succeeded       succeeded is a boolean; true goes with errorCode None and no message, false with another code
1.5-message         errorMessage is a text or null
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FACTS: dict[str, str] = dict(re.findall(r"^(1\.\d-[a-z-]+)\s+(.+)$", __doc__ or "", re.MULTILINE))


def violation(fact: str, found: str) -> str:
    """`fact: what was found instead`; KeyError for a fact that is not in the list above."""
    return f"{fact}: {found} ({FACTS[fact]})"


def exact_keys(
    fact: str, where: str, value: Any, required: frozenset[str], optional: frozenset[str] = frozenset()
) -> list[str]:
    """The object has the required keys and none besides the optional ones."""
    if not isinstance(value, Mapping):
        return [violation(fact, f"{where} is a {type(value).__name__}, not an object")]
    found = [violation(fact, f"{where} lacks {key}") for key in sorted(required - value.keys())]
    return found + [violation(fact, f"{where} has {key}") for key in sorted(value.keys() - required - optional)]
