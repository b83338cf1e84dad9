"""Takes: one TOML file and environment variables that override it.
Gives: Settings, checked and frozen; load and from_mapping, which name key, cause and remedy of what is wrong.
May touch: that file and the environment; passwords only where they are asked for.

Every key has a default that is safe on one machine, so an empty file is a valid configuration. Unknown keys are
refused, so that a misspelt limit is not silently the default. Secrets are never values here: a setting names the file,
environment variable or systemd credential that holds one. Relative paths are relative to the file's own folder.

    SCEP_SERVER_SERVER__LISTEN=0.0.0.0:8443     overrides  [server] listen
    SCEP_SERVER_LEDGER__URL=sqlite:///l.db      overrides  [ledger] url

conf/scep-server.toml shows every key with its default; tests/config holds it against this package.
"""

from scep_server.config.ca import CaSettings
from scep_server.config.fields import Address
from scep_server.config.ledger import LedgerSettings
from scep_server.config.loading import FILE_NAME, from_mapping, load
from scep_server.config.outbound import OutboundSettings
from scep_server.config.redis import RedisSettings
from scep_server.config.server import ServerSettings
from scep_server.config.settings import ENVIRONMENT_PREFIX, AuditSettings, LogSettings, SecretsSettings, Settings

__all__ = [
    "ENVIRONMENT_PREFIX",
    "FILE_NAME",
    "Address",
    "AuditSettings",
    "CaSettings",
    "LedgerSettings",
    "LogSettings",
    "OutboundSettings",
    "RedisSettings",
    "SecretsSettings",
    "ServerSettings",
    "Settings",
    "from_mapping",
    "load",
]
