"""The section [outbound]."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import model_validator

from scep_server.config.fields import OptionalPath, OptionalText, Section


class OutboundSettings(Section):
    """[outbound]: how services that challenge plugins ask are reached."""

    ca_file: OptionalPath = None
    proxy: OptionalText = None
    proxy_password_file: OptionalPath = None

    @model_validator(mode="after")
    def _plain_proxy(self) -> Self:
        if self.proxy not in {None, "none"}:
            # The value itself may hold a password, so it is not repeated.
            try:
                parts = urlsplit(self.proxy or "")
                complete = parts.scheme == "http" and parts.hostname and parts.port and parts.path in {"", "/"}
            except ValueError:
                complete = False
            if not complete or parts.query or parts.fragment:
                raise ValueError('proxy must be http://[USER@]HOST:PORT, or "none" to use no proxy at all')
            if parts.password is not None:
                raise ValueError("proxy holds a password; move it to a file and name that as proxy_password_file")
        if self.proxy_password_file is not None and not (self.proxy and urlsplit(self.proxy).username):
            raise ValueError("proxy_password_file needs a user: write proxy as http://USER@HOST:PORT")
        return self
