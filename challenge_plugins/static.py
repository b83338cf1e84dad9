"""A static challenge: one secret that every device of an integration presents.

The secret is kept encrypted under the server's key file, recoverable, because a password recipient needs it
(RFC 8894 section 7.3). Two secrets may be valid at once, so that an MDM profile can be changed without a gap.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from scep_server.errors import ConfigurationError, Reason, Refusal
from scep_server.interfaces import ChallengePlugin, Host, KeyFile
from scep_server.types import Attempt, Certificate, Grant, OptionField, PasswordHint

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 255
"""challengePassword is a DirectoryString of at most 255 characters (RFC 2985 section 5.4.1)."""
ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")
"""PrintableString (X.680): Windows encodes the challenge as one and fails on anything else."""
GENERATED_BYTES: Final = 16
"""128 bits, shown as 32 upper-case hex digits, which every MDM form and client carries unharmed."""
KEPT: Final = 2


class StaticChallenge:
    """The live plugin of one integration."""

    def __init__(self, known: Sequence[tuple[str, bytes]]) -> None:
        # Comparing MACs under a key of this process hides the length and content of the secrets from timing.
        self._key = os.urandom(32)
        self._secrets = tuple(known)
        self._macs = tuple((reference, self._mac(secret)) for reference, secret in known)

    async def redeem(self, attempt: Attempt) -> Grant:
        """Grant when the challenge equals one of the valid secrets; Refusal(CHALLENGE) otherwise."""
        challenge = attempt.request.challenge
        if not challenge:
            raise Refusal(Reason.CHALLENGE, "no challenge in the request")
        offered = self._mac(challenge.encode())
        matches = [reference for reference, mac in self._macs if hmac.compare_digest(offered, mac)]
        if not matches:
            raise Refusal(Reason.CHALLENGE, "wrong challenge")
        return Grant(reference=matches[0])

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Nobody waits for a confirmation."""

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Nobody is told."""

    async def reveal(self, hint: PasswordHint) -> Sequence[bytes]:
        """The secret the client used before, or the newest first (R49, R50)."""
        named = tuple(secret for reference, secret in self._secrets if reference == hint.reference)
        return named or tuple(secret for _, secret in self._secrets)

    def _mac(self, value: bytes) -> bytes:
        return hmac.new(self._key, value, hashlib.sha256).digest()


class StaticChallengeFactory:
    """Makes, rotates and loads the settings of a static challenge.

    Settings: {"secrets": [{"id", "secret" (encrypted), "created_at"}, ...]}, newest first.
    """

    fields = (
        OptionField(
            "challenge", f"the secret, {MIN_LENGTH} to {MAX_LENGTH} characters; generated when left out", secret=True
        ),
    )

    def create(
        self, integration: str, options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Generate a secret, or take options["challenge"]. ConfigurationError for one that could not be safe."""
        record, secret = _new_secret(integration, options, keys)
        return {"secrets": [record]}, {"challenge": secret}

    def rotate(
        self, integration: str, settings: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Add a secret; the one before stays valid until the next rotation, unless options["drop_old"] is `yes`.

        With options["keep_secret"] `yes` too, the newest one stays and no other.
        """
        before, drop_old = list(settings.get("secrets", ())), options.get("drop_old") == "yes"
        if options.get("keep_secret") == "yes":
            if not drop_old or options.keys() - {"keep_secret", "drop_old"}:
                raise ConfigurationError("a static challenge has no setting but its secret; use rotate-secret for that")
            return {"secrets": before[:1]}, {}
        record, secret = _new_secret(integration, options, keys)
        kept = [] if drop_old else before
        return {"secrets": [record, *kept][:KEPT]}, {"challenge": secret}

    def shown(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Mapping[str, str]:
        """{"challenge": newest, "previous_challenge": the one before, if still valid}."""
        names = ("challenge", "previous_challenge")
        return dict(zip(names, (secret.decode() for _, secret in _secrets(integration, settings, keys)), strict=False))

    def load(self, integration: str, settings: Mapping[str, Any], host: Host) -> ChallengePlugin:
        """ConfigurationError when there is no secret, or one that is too short or not printable (N3)."""
        known = _secrets(integration, settings, host.keys)
        if not known:
            raise ConfigurationError(
                f"integration {integration} has no challenge secret, so it would accept nobody; "
                f"run `scep-server integration rotate-secret {integration}`"
            )
        for _, secret in known:
            check_secret(secret.decode())
        return StaticChallenge(known)


def check_secret(secret: str) -> None:
    """ConfigurationError unless the secret is long enough to resist guessing and survives every client's encoding."""
    if len(secret) < MIN_LENGTH:
        raise ConfigurationError(
            f"the challenge has {len(secret)} characters, at least {MIN_LENGTH} are needed; "
            "leave it out to have one generated"
        )
    if len(secret) > MAX_LENGTH:
        raise ConfigurationError(f"the challenge has {len(secret)} characters, at most {MAX_LENGTH} fit a request")
    if secret != secret.strip(" "):
        raise ConfigurationError("the challenge begins or ends with a space, which MDM forms cut off")
    wrong = sorted(set(secret) - ALPHABET)
    if wrong:
        raise ConfigurationError(
            f"the challenge contains {len(wrong)} kind(s) of characters that Windows clients cannot encode; "
            "use A-Z a-z 0-9 space ' ( ) + , - . / : = ? only (PrintableString)"
        )


def _new_secret(integration: str, options: Mapping[str, str], keys: KeyFile) -> tuple[dict[str, str], str]:
    unknown = sorted(set(options) - {"challenge", "drop_old"})
    if unknown:
        raise ConfigurationError(f"a static challenge has no setting named {', '.join(unknown)}")
    secret = options.get("challenge")
    if secret is None:
        secret = secrets.token_hex(GENERATED_BYTES).upper()
    check_secret(secret)
    record = {
        "id": secrets.token_hex(4),
        "secret": keys.encrypt(secret.encode(), _context(integration)),
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return record, secret


def _secrets(integration: str, settings: Mapping[str, Any], keys: KeyFile) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (record["id"], keys.decrypt(record["secret"], _context(integration)))
        for record in settings.get("secrets", ())[:KEPT]
    )


def _context(integration: str) -> str:
    return f"static:{integration}"


PLUGIN = StaticChallengeFactory()
