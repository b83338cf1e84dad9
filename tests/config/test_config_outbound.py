"""[outbound]: proxies without passwords in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from scep_server import config
from scep_server.errors import ConfigurationError


def load(folder: Path, text: str) -> config.OutboundSettings:
    path = folder / config.FILE_NAME
    path.write_text(f"[outbound]\n{text}\n")
    return config.load(path).outbound


@pytest.mark.parametrize(
    "proxy", ["", "none", "http://proxy.example:3128", "http://user@proxy.example:3128/", "http://[::1]:8080"]
)
def test_proxies(tmp_path: Path, proxy: str) -> None:
    assert load(tmp_path, f"proxy = '{proxy}'").proxy == (proxy or None)


def test_files_are_beside_the_configuration(tmp_path: Path) -> None:
    outbound = load(tmp_path, "ca_file = 'ca.pem'\nproxy = 'http://u@h:1'\nproxy_password_file = 'secrets/proxy'")
    assert (outbound.ca_file, outbound.proxy_password_file) == (tmp_path / "ca.pem", tmp_path / "secrets/proxy")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("proxy = 'proxy.example:3128'", "proxy must be http://"),
        ("proxy = 'http://proxy.example'", "proxy must be http://"),
        ("proxy = 'https://u:the-secret@h:1'", "proxy must be http://"),
        ("proxy = 'socks5://h:1'", "proxy must be http://"),
        ("proxy = 'http://h:99999'", "proxy must be http://"),
        ("proxy = 'http://h:1/path'", "proxy must be http://"),
        ("proxy = 'http://u:the-secret@h:1'", "move it to a file"),
        ("proxy = 'http://h:1'\nproxy_password_file = 'f'", "needs a user"),
        ("proxy = 'none'\nproxy_password_file = 'f'", "needs a user"),
        ("proxy_password_file = 'f'", "needs a user"),
    ],
)
def test_refusals_name_the_remedy_and_no_password(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert says in str(caught.value)
    assert "the-secret" not in str(caught.value)
