"""The key file: created once, private, and its tokens open only where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from scep_server.errors import ConfigurationError
from scep_server.keyfile import SecretKeyFile, create_key, read_key


def test_created_private_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "challenges.key"
    assert create_key(path) == read_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_key(path)


def test_tokens_open_for_their_context_and_key_only() -> None:
    keys = SecretKeyFile(b"a" * 32)
    token = keys.encrypt(b"secret", "static:corp")
    assert keys.decrypt(token, "static:corp") == b"secret"
    for opener, context in ((keys, "static:other"), (SecretKeyFile(b"b" * 32), "static:corp")):
        with pytest.raises(ConfigurationError):
            opener.decrypt(token, context)
    for broken in ("", "v1.", "v1.AAAA", token[:-4], "x" + token):
        with pytest.raises(ConfigurationError):
            keys.decrypt(broken, "static:corp")


@pytest.mark.parametrize(("content", "mode"), [(b"short\n", 0o600), (b"!", 0o600), (b"QQ==\n", 0o644)])
def test_unusable_files_are_refused(tmp_path: Path, content: bytes, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=str(path)):
        read_key(path)


def test_missing_file_names_the_backup(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="backup"):
        read_key(tmp_path / "none")
