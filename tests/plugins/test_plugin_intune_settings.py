"""Settings of an Intune connection: what is taken, what is refused and with which words, what is kept and how."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from challenge_plugins.intune import PLUGIN
from challenge_plugins.intune.settings import checked
from scep_server.errors import ConfigurationError
from scep_server.keyfile import SecretKeyFile
from tests.e2e import identities
from tests.plugins.intune_connection import SECRET, app_pem, opened

KEYS = SecretKeyFile(b"k" * 32)
CLIENT = "8a0e23b2-3d3a-4a52-9d3a-0f0d6f9ee0c1"
GIVEN = {"tenant": "contoso.onmicrosoft.com", "client_id": CLIENT, "client_secret": SECRET}


def test_the_least_that_is_needed_gives_microsofts_public_cloud() -> None:
    settings = checked(GIVEN)
    assert settings.authority == "https://login.microsoftonline.com/"
    assert settings.graph_scope == "https://graph.microsoft.com/.default"
    assert settings.intune_scope == "https://api.manage.microsoft.com//.default"
    assert settings.intune_app_id == "0000000a-0000-0000-c000-000000000000"
    assert settings.timeout_seconds == 15
    assert settings.revocation
    assert settings.caller_info.startswith("scep-server/")


def test_a_national_cloud_and_the_single_slash_are_settings() -> None:
    settings = checked(
        {
            **GIVEN,
            "authority": "https://login.cloud.test",
            "graph_url": "https://graph.cloud.test",
            "intune_scope_base": "https://api.cloud.test",
        }
    )
    assert settings.authority == "https://login.cloud.test/"
    assert settings.graph_scope == "https://graph.cloud.test/.default"
    assert settings.intune_scope == "https://api.cloud.test/.default"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("tenant", "", "tenant is missing"),
        ("tenant", "contoso", "neither a tenant id"),
        ("tenant", "https://contoso.onmicrosoft.com", "neither a tenant id"),
        ("tenant", "contoso.onmicrosoft.com/../other", "neither a tenant id"),
        ("client_id", "", "client_id is missing"),
        ("client_id", "my-app", "no GUID"),
        ("client_id", CLIENT + "0", "no GUID"),
        ("authority", "http://login.microsoftonline.com/", "no https"),
        ("authority", "https://", "no https"),
        ("graph_url", "https://user:word@graph.microsoft.com/", "no https"),
        ("graph_url", "https://graph.microsoft.com/?a=b", "no https"),
        ("graph_url", "https://graph.microsoft.com:port/", "no https"),
        ("graph_version", "v1.0/../beta", "no version"),
        ("intune_scope_base", "api.manage.microsoft.com", "no https"),
        ("intune_app_id", "Microsoft Intune", "no GUID"),
        ("timeout_seconds", "19", "from 2 to 18"),
        ("timeout_seconds", "1", "from 2 to 18"),
        ("timeout_seconds", "nan", "no number"),
        ("revocation", "yes", "neither on nor off"),
        ("revocation_poll_seconds", "1", "from 30"),
        ("issuer_name", "x" * 256, "at most 255"),
        ("ca_configuration", "a\nb", "printable"),
        ("caller_info", "a\x00", "printable"),
        ("colour", "red", "no setting named colour; it has tenant, client_id"),
    ],
)
def test_each_wrong_setting_is_named_with_what_is_right(name: str, text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        PLUGIN.create("corp", {**GIVEN, name: text}, KEYS)
    assert SECRET not in str(refused.value)


def test_the_secret_is_kept_encrypted_and_never_shown() -> None:
    settings, shown = PLUGIN.create("corp", GIVEN, KEYS)
    assert SECRET not in json.dumps(settings) + json.dumps(shown)
    assert opened(settings, KEYS) == SECRET.encode()
    assert PLUGIN.shown("corp", settings, KEYS) == {}


async def test_settings_open_only_for_their_integration_and_key_file(house) -> None:
    settings, _ = PLUGIN.create("other", GIVEN, house.keys)
    with pytest.raises(ConfigurationError, match="key file"):
        house.load("intune", settings)
    house.load("intune", settings, "other")


async def test_settings_without_a_credential_authorise_nobody(house) -> None:
    settings, _ = PLUGIN.create("corp", GIVEN, house.keys)
    with pytest.raises(ConfigurationError, match="rotate-secret corp"):
        house.load("intune", {"options": settings["options"]})


@pytest.mark.parametrize("given", [{}, {"client_secret": SECRET, "client_certificate": "/some/file"}])
def test_exactly_one_credential_is_wanted(given: dict[str, str]) -> None:
    plain = {name: text for name, text in GIVEN.items() if name != "client_secret"}
    with pytest.raises(ConfigurationError, match="one of the two"):
        PLUGIN.create("corp", {**plain, **given}, KEYS)


def test_rotation_replaces_the_secret_and_keeps_the_rest() -> None:
    settings, _ = PLUGIN.create("corp", {**GIVEN, "timeout_seconds": "9"}, KEYS)
    rotated, shown = PLUGIN.rotate("corp", settings, {"client_secret": "another-secret"}, KEYS)
    assert shown == {}
    assert opened(rotated, KEYS) == b"another-secret"
    assert rotated["options"] == settings["options"]
    with pytest.raises(ConfigurationError, match="--secret-file"):
        PLUGIN.rotate("corp", settings, {}, KEYS)


def test_a_setting_alone_is_changed_and_the_secret_stays() -> None:
    settings, _ = PLUGIN.create("corp", GIVEN, KEYS)
    changed, _ = PLUGIN.rotate("corp", settings, {"revocation": "off", "keep_secret": "yes"}, KEYS)
    assert changed == {**settings, "options": {**settings["options"], "revocation": "off"}}
    with pytest.raises(ConfigurationError, match="neither on nor off"):
        PLUGIN.rotate("corp", settings, {"revocation": "no", "keep_secret": "yes"}, KEYS)


def test_there_is_no_older_secret_to_end() -> None:
    settings, _ = PLUGIN.create("corp", GIVEN, KEYS)
    with pytest.raises(ConfigurationError, match="no older one"):
        PLUGIN.rotate("corp", settings, {"keep_secret": "yes", "drop_old": "yes"}, KEYS)
    rotated, _ = PLUGIN.rotate("corp", settings, {"client_secret": "another-secret", "drop_old": "yes"}, KEYS)
    assert opened(rotated, KEYS) == b"another-secret"


def test_a_certificate_takes_the_place_of_the_secret() -> None:
    pem, _ = app_pem()
    settings, _ = PLUGIN.create("corp", GIVEN, KEYS)
    changed, shown = PLUGIN.rotate("corp", settings, {"client_certificate": pem, "keep_secret": "yes"}, KEYS)
    assert "client_secret" not in changed
    assert "PRIVATE KEY" not in json.dumps(changed) + json.dumps(shown)
    assert b"PRIVATE KEY" in opened(changed, KEYS, "client_certificate")


def test_both_credentials_are_secrets_of_the_command_line() -> None:
    assert [field.name for field in PLUGIN.fields if field.secret] == ["client_secret", "client_certificate"]


@pytest.mark.parametrize("wrong", ["key only", "no key", "other key", "elliptic", "passphrase", "garbage", "a path"])
def test_each_unusable_certificate_is_refused(wrong: str) -> None:
    pem, made = app_pem(key=identities.ec_key() if wrong == "elliptic" else None)
    certificate = made.public_bytes(Encoding.PEM).decode()
    other, _ = app_pem(key=identities.rsa_key(1))
    sealed = identities.rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"w"))
    text = {
        "key only": pem.replace(certificate, ""),
        "no key": certificate,
        "other key": certificate + other.split("-----END CERTIFICATE-----\n")[1],
        "elliptic": pem,
        "passphrase": certificate + sealed.decode(),
        "garbage": pem.replace("M", "?"),
        "a path": "/etc/app.pem",
    }[wrong]
    plain = {name: value for name, value in GIVEN.items() if name != "client_secret"}
    with pytest.raises(ConfigurationError, match="client_certificate") as refused:
        PLUGIN.create("corp", {**plain, "client_certificate": text}, KEYS)
    assert "BEGIN" not in str(refused.value)
