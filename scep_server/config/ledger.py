"""The section [ledger]."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, urlsplit

from pydantic import model_validator

from scep_server.config.fields import OptionalPath, OptionalText, Section
from scep_server.config.password import read_password
from scep_server.errors import ConfigurationError

_SQLITE: Final = "sqlite:///"


class LedgerSettings(Section):
    """[ledger]: the database of record."""

    url: str = "sqlite:///ledger.sqlite3"
    password_file: OptionalPath = None
    password_env: OptionalText = None

    @model_validator(mode="after")
    def _known_database(self) -> Self:
        if not self.url.startswith((_SQLITE, "postgresql+psycopg://")):
            # The value itself may hold a password, so it is not repeated.
            raise ValueError("url must be sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")
        if not self.url.startswith(_SQLITE) and urlsplit(self.url).password is not None:
            raise ValueError("url holds a password; move it to a file and name that as password_file (or password_env)")
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("password_file and password_env are both set; keep one")
        return self

    def below(self, folder: Path) -> Self:
        """The same, with relative paths taken from this folder, that of an SQLite file among them."""
        placed = super().below(folder)
        if not self.url.startswith(_SQLITE):
            return placed
        return placed.model_copy(update={"url": f"{_SQLITE}{folder / self.url.removeprefix(_SQLITE)}"})

    def connection_url(self) -> str:
        """The url with its password filled in, for the database driver only. Raises ConfigurationError."""
        password = read_password("ledger.password", self.password_file, self.password_env)
        if password is None:
            return self.url
        scheme, rest = self.url.split("://", 1)
        user, at, server = rest.partition("@")
        if not at:
            raise ConfigurationError("ledger.url: a password needs a user name; write postgresql+psycopg://USER@HOST/…")
        return f"{scheme}://{user}:{quote(password, safe='')}@{server}"
