"""The static challenge: who it lets in, and which secrets it refuses to guard a CA with (N3, N18)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from challenge_plugins.static import ALPHABET, PLUGIN, StaticChallenge
from scep_server.errors import ConfigurationError, Reason, Refusal
from scep_server.keyfile import SecretKeyFile
from scep_server.types import Attempt, CertificationRequest, MessageType, PasswordHint, Source

KEYS = SecretKeyFile(b"k" * 32)


@dataclass(frozen=True)
class KeysOnly:
    """What the static challenge asks of its host."""

    keys: SecretKeyFile = KEYS


HOST = KeysOnly()


def attempt(challenge: str | None) -> Attempt:
    request = CertificationRequest(b"", b"", b"", b"", None, challenge, (), "")  # type: ignore[arg-type]
    return Attempt("corp", "tid", MessageType.PKCS_REQ, request, Source("192.0.2.1"), datetime.now(UTC))


def made(**options: str) -> tuple[StaticChallenge, dict, str]:
    settings, shown = PLUGIN.create("corp", options, KEYS)
    return PLUGIN.load("corp", settings, HOST), dict(settings), shown["challenge"]


async def test_generated_secret_opens_and_nothing_else_does() -> None:
    plugin, _, secret = made()
    assert (await plugin.redeem(attempt(secret))).consumes == ()
    for wrong in (None, "", secret[:-1], secret + "0", secret.lower(), " " + secret):
        with pytest.raises(Refusal) as refused:
            await plugin.redeem(attempt(wrong))
        assert refused.value.reason is Reason.CHALLENGE
        assert secret not in str(refused.value)


def test_generated_secrets_differ_and_survive_windows() -> None:
    secrets = {made()[2] for _ in range(20)}
    assert len(secrets) == 20
    assert all(len(secret) == 32 and set(secret) <= ALPHABET for secret in secrets)


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("", "at least"),
        ("short", "at least"),
        ("x" * 256, "at most"),
        ("under_score_1234", "Windows"),
        ("schlüssel-123456", "Windows"),
        ("trailing space 1 ", "space"),
        ("new\nline-12345678", "Windows"),
    ],
)
def test_unsafe_secrets_are_refused_without_repeating_them(secret: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        made(challenge=secret)
    assert not secret or secret not in str(refused.value)


async def test_two_secrets_are_valid_during_a_rotation_and_never_three() -> None:
    _, settings, first = made()
    settings, shown = PLUGIN.rotate("corp", settings, {}, KEYS)
    second = shown["challenge"]
    both = PLUGIN.load("corp", settings, HOST)
    references = {(await both.redeem(attempt(secret))).reference for secret in (first, second)}
    assert len(references) == 2
    settings, shown = PLUGIN.rotate("corp", settings, {}, KEYS)
    third = PLUGIN.load("corp", settings, HOST)
    await third.redeem(attempt(second))
    with pytest.raises(Refusal):
        await third.redeem(attempt(first))
    settings, _ = PLUGIN.rotate("corp", settings, {"drop_old": "yes"}, KEYS)
    with pytest.raises(Refusal):
        await PLUGIN.load("corp", settings, HOST).redeem(attempt(shown["challenge"]))


async def test_the_older_secret_ends_and_the_current_one_stays() -> None:
    _, settings, first = made()
    settings, shown = PLUGIN.rotate("corp", settings, {}, KEYS)
    for options in ({}, {"drop_old": "yes", "challenge": "another-secret-0123"}):
        with pytest.raises(ConfigurationError, match="rotate-secret"):
            PLUGIN.rotate("corp", settings, {"keep_secret": "yes", **options}, KEYS)
    ended, told = PLUGIN.rotate("corp", settings, {"keep_secret": "yes", "drop_old": "yes"}, KEYS)
    assert told == {}
    live = PLUGIN.load("corp", ended, HOST)
    await live.redeem(attempt(shown["challenge"]))
    with pytest.raises(Refusal):
        await live.redeem(attempt(first))


def test_settings_hold_no_secret_in_clear_and_open_only_for_their_integration() -> None:
    _, settings, secret = made()
    assert secret not in repr(settings)
    assert PLUGIN.shown("corp", settings, KEYS) == {"challenge": secret}
    for integration, keys in (("other", KEYS), ("corp", SecretKeyFile(b"o" * 32))):
        with pytest.raises(ConfigurationError, match="key file"):
            PLUGIN.load(integration, settings, KeysOnly(keys))


def test_settings_without_a_secret_authorise_nobody() -> None:
    with pytest.raises(ConfigurationError, match="rotate-secret"):
        PLUGIN.load("corp", {}, HOST)


async def test_reveal_names_the_secret_that_was_used() -> None:
    _, settings, first = made()
    settings, shown = PLUGIN.rotate("corp", settings, {}, KEYS)
    plugin = PLUGIN.load("corp", settings, HOST)
    older = settings["secrets"][1]["id"]
    assert await plugin.reveal(PasswordHint(reference=older)) == (first.encode(),)
    assert await plugin.reveal(PasswordHint()) == (shown["challenge"].encode(), first.encode())
