"""The section [ca]."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from scep_server.config.fields import OptionalPath, OptionalText, Section


class CaSettings(Section):
    """[ca]: the folder with keys and certificates, the passphrase's source, and the CRLs."""

    directory: Path = Path("ca")
    passphrase_file: OptionalPath = Path("secrets/ca-passphrase")
    passphrase_env: OptionalText = None
    passphrase_credential: OptionalText = None
    crl_shards: int = Field(default=1, ge=1, le=1024)
    crl_validity_hours: int = Field(default=168, ge=1, le=24 * 365)
    crl_renewal_hours: int = Field(default=24, ge=1, le=24 * 365)

    @model_validator(mode="after")
    def _one_passphrase_source(self) -> Self:
        named = [key for key in ("passphrase_env", "passphrase_credential") if getattr(self, key) is not None]
        if "passphrase_file" in self.model_fields_set and self.passphrase_file is not None:
            named.append("passphrase_file")
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are both set; keep one source and leave the others empty")
        if not named and self.passphrase_file is None:
            raise ValueError("no passphrase source; set one of passphrase_file, passphrase_env, passphrase_credential")
        return self

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.crl_renewal_hours >= self.crl_validity_hours:
            raise ValueError("crl_renewal_hours must be below crl_validity_hours, or clients see an expired CRL")
        return self

    @property
    def passphrase_source(self) -> tuple[Literal["file", "env", "credential"], str]:
        """Which source holds the passphrase, and its path or name."""
        if self.passphrase_env is not None:
            return "env", self.passphrase_env
        if self.passphrase_credential is not None:
            return "credential", self.passphrase_credential
        return "file", str(self.passphrase_file)
