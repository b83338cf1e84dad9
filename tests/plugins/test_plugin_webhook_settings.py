"""Settings of the webhook: which values are refused, where secrets lie, and how they are changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from challenge_plugins.webhook import PLUGIN
from challenge_plugins.webhook.settings import WebhookSettings, read
from scep_server.cli.failures import CommandFailed
from scep_server.cli.plugin_settings import Given
from scep_server.errors import ConfigurationError
from scep_server.interfaces import DeclaresCounters, DescribesSettings
from scep_server.keyfile import SecretKeyFile

KEYS = SecretKeyFile(b"k" * 32)
URL = "https://mdm.example/scep"
GIVEN = "a-secret-of-the-operator-0123"


def made(**options: str) -> tuple[dict, dict]:
    settings, shown = PLUGIN.create("corp", {"url": URL, **options}, KEYS)
    return dict(settings), dict(shown)


def changed(settings: dict, **options: str) -> tuple[dict, dict]:
    settings, shown = PLUGIN.rotate("corp", settings, options, KEYS)
    return dict(settings), dict(shown)


def live(settings: dict) -> WebhookSettings:
    return read("corp", settings, KEYS)


def test_defaults() -> None:
    settings, shown = made()
    now = live(settings)
    assert (now.url, now.notify_url, now.timeout, now.retries) == (URL, URL, 10.0, 1)
    assert (now.send_challenge, now.notify, now.require_signed_answer) == (True, True, False)
    assert (now.secrets, now.authorization) == ((shown["signing_secret"].encode(),), None)
    assert len(shown["signing_secret"]) == 64


def test_what_an_operator_sets_is_what_is_used() -> None:
    off = {"retries": "0", "send_challenge": "off", "notify": "off"}
    settings, _ = made(
        timeout_seconds="18",
        notify_url="http://127.0.0.1:8/n",
        require_signed_answer="on",
        authorization="Bearer abc",
        **off,
    )
    now = live(settings)
    assert (now.timeout, now.retries, now.send_challenge, now.notify) == (18.0, 0, False, False)
    assert (now.notify_url, now.require_signed_answer, now.authorization) == (
        "http://127.0.0.1:8/n",
        True,
        "Bearer abc",
    )


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/x", "http://127.1.2.3/x", "http://[::1]:1/x", "https://a.b/c?d=e"]
)
def test_addresses_that_are_taken(url: str) -> None:
    assert live(made(url=url)[0]).url == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "mdm.example", "ftp://mdm.example/", "https://", "https:///path", "file:///etc/passwd"),
        *("http://mdm.example/", "http://192.0.2.1/", "http://localhost.evil.example/", "http://2130706433/"),
        *("https://user:pw@mdm.example/", "https://user@mdm.example/", "https://mdm.example/#part"),
        *(
            "https://mdm.example/a b",
            "https://mdm.example/\r\nX: y",
            "https://mdm.example:0/",
            "https://mdm.example:x/",
        ),
        *("https://[::1/", "https://mdm.example/\u00fc"),
    ],
)
@pytest.mark.parametrize("name", ["url", "notify_url"])
def test_addresses_that_are_refused(name: str, url: str) -> None:
    if name == "notify_url" and not url:
        return  # empty takes the setting back
    with pytest.raises(ConfigurationError, match=name) as refused:
        made(**{name: url})
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("timeout_seconds", value) for value in ("0", "19", "-1", "1.5", "", "ten", "٣")),
        *(("retries", value) for value in ("-1", "4", "one", "")),
        *((name, "maybe") for name in ("notify", "send_challenge", "require_signed_answer", "drop_old")),
        *(("authorization", value) for value in ("", "Bearer a\r\nX: y", " ", "x" * 4097, "B\u00fcrer")),
        *(("signing_secret", value) for value in ("", "short", "with a space in it 0123456789", "x" * 256)),
    ],
)
def test_values_that_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as refused:
        made(**{name: value})
    assert len(value) < 5 or value not in str(refused.value)


def test_unknown_settings_are_named_beside_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no setting named challenge, uri; there are: .*url"):
        made(uri="x", challenge="y")


def test_without_an_address_there_is_nobody_to_ask() -> None:
    with pytest.raises(ConfigurationError, match="url"):
        PLUGIN.create("corp", {}, KEYS)


@pytest.mark.parametrize("lost", ["url", "signing_secrets"])
def test_settings_that_cannot_judge_do_not_load(lost: str, house) -> None:
    settings, _ = PLUGIN.create("corp", {"url": URL}, house.keys)
    broken = {name: value for name, value in settings.items() if name != lost}
    with pytest.raises(ConfigurationError, match="rotate-secret"):
        house.load("webhook", broken)


def test_secrets_are_kept_encrypted_each_for_its_purpose() -> None:
    settings, shown = made(authorization="Bearer very-secret")
    assert shown["signing_secret"] not in repr(settings)
    assert "very-secret" not in repr(settings)
    assert "very-secret" not in repr(live(settings))
    assert shown["signing_secret"] not in repr(live(settings))
    swapped = settings | {"authorization": settings["signing_secrets"][0]["secret"]}
    for integration, stored, keys in (
        ("other", settings, KEYS),
        ("corp", settings, SecretKeyFile(b"o" * 32)),
        ("corp", swapped, KEYS),
    ):
        with pytest.raises(ConfigurationError, match="key file"):
            read(integration, stored, keys)


def test_a_given_secret_is_used_and_not_repeated() -> None:
    settings, shown = made(signing_secret=GIVEN)
    assert shown == {}
    assert live(settings).secrets == (GIVEN.encode(),)
    assert PLUGIN.shown("corp", settings, KEYS) == {"signing_secret": GIVEN}


def test_two_secrets_are_valid_during_a_rotation_and_never_three() -> None:
    settings, first = made()
    settings, second = changed(settings)
    settings, third = changed(settings)
    secrets = [one["signing_secret"] for one in (third, second, first)]
    assert len(set(secrets)) == 3
    assert live(settings).secrets == tuple(secret.encode() for secret in secrets[:2])
    assert PLUGIN.shown("corp", settings, KEYS) == {
        "signing_secret": secrets[0],
        "previous_signing_secret": secrets[1],
    }
    settings, fourth = changed(settings, drop_old="yes")
    assert live(settings).secrets == (fourth["signing_secret"].encode(),)


def test_single_settings_change_without_a_new_secret() -> None:
    settings, shown = made(authorization="Bearer one", notify_url="https://other.example/")
    settings, second = changed(settings)
    after, nothing = changed(settings, keep_secret="yes", timeout_seconds="3", authorization="none", notify_url="")
    now = live(after)
    assert nothing == {}
    assert [secret.decode() for secret in now.secrets] == [second["signing_secret"], shown["signing_secret"]]
    assert (now.timeout, now.authorization, now.notify_url, now.url) == (3.0, None, URL, URL)
    ended, _ = changed(after, keep_secret="yes", drop_old="yes")
    assert live(ended).secrets == (second["signing_secret"].encode(),)


def test_an_authorization_is_taken_back_by_what_a_command_line_can_say(tmp_path: Path) -> None:
    """A secret comes from a file or the environment, and never empty from there."""
    for name, text in (("empty", ""), ("word", "none\n")):
        (tmp_path / name).write_text(text)
    with pytest.raises(CommandFailed, match="empty"):
        Given(files=[f"authorization={tmp_path / 'empty'}"]).for_plugin("webhook")
    given = Given(files=[f"authorization={tmp_path / 'word'}"]).for_plugin("webhook")
    settings, _ = changed(made(authorization="Bearer one")[0], keep_secret="yes", **given)
    assert live(settings).authorization is None


def test_the_factory_describes_itself() -> None:
    assert isinstance(PLUGIN, DescribesSettings)
    assert isinstance(PLUGIN, DeclaresCounters)
    assert next(one.name for one in PLUGIN.fields if one.secret) == "signing_secret"
    assert {one.name for one in PLUGIN.fields if one.secret} == {"signing_secret", "authorization"}
