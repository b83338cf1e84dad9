"""The three sources of the passphrase, and that none of them fails open."""

import pytest

from scep_server.ca import read_passphrase
from scep_server.errors import ConfigurationError


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "ca-passphrase"
    path.write_bytes(b"correct horse\n")
    path.chmod(0o600)
    return path


def test_file_without_its_line_end(secret):
    assert read_passphrase(file=secret) == b"correct horse"
    secret.write_bytes(b" inner and outer blanks stay \r\n")
    assert read_passphrase(file=secret) == b" inner and outer blanks stay "


def test_environment_variable():
    assert read_passphrase(environment="CA_PASS", variables={"CA_PASS": "correct horse"}) == b"correct horse"
    with pytest.raises(ConfigurationError, match="CA_PASS"):
        read_passphrase(environment="CA_PASS", variables={})


def test_systemd_credential_whatever_its_mode_shows(secret):
    secret.chmod(0o440)  # what an ACL for the service's user looks like
    variables = {"CREDENTIALS_DIRECTORY": str(secret.parent)}
    assert read_passphrase(credential="ca-passphrase", variables=variables) == b"correct horse"
    for name in ("../ca-passphrase", "..", ""):
        with pytest.raises(ConfigurationError, match="no name of a systemd credential"):
            read_passphrase(credential=name, variables=variables)
    with pytest.raises(ConfigurationError, match="LoadCredential"):
        read_passphrase(credential="ca-passphrase", variables={})


def test_refuses_an_open_file(secret):
    secret.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_passphrase(file=secret)


@pytest.mark.parametrize("content", [b"", b"\n", b"1234567\n"])
def test_refuses_an_empty_or_short_one(secret, content):
    secret.write_bytes(content)
    with pytest.raises(ConfigurationError, match="at least 8"):
        read_passphrase(file=secret)


def test_wants_exactly_one_source(secret):
    for sources in ({}, {"file": secret, "environment": "CA_PASS"}):
        with pytest.raises(ConfigurationError, match="exactly one"):
            read_passphrase(**sources, variables={"CA_PASS": "correct horse"})
