"""Passwords of services: never a setting's value, but what the file or variable that a setting names holds."""

from __future__ import annotations

import os
from pathlib import Path

from scep_server.errors import ConfigurationError


def read_password(key: str, file: Path | None, variable: str | None = None) -> str | None:
    """What the file or environment variable of key_file or key_env holds; None when neither is named. Raises
    ConfigurationError.
    """
    if file is not None:
        source = f"{key}_file"
        try:
            password = file.read_text().rstrip("\r\n")
        except OSError as error:
            raise ConfigurationError(f"{source}: cannot read {file} ({error.strerror}); create it, mode 0600") from None
    elif variable is not None:
        source = f"{key}_env"
        password = os.environ.get(variable, "")
    else:
        return None
    if not password:
        raise ConfigurationError(f"{source}: the password source is empty; put the password there")
    return password
