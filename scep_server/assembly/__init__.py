"""Takes settings. Gives a Site for a command, a first run for a newcomer, or a server until SIGTERM.

May touch everything below: this is the one place where all rooms meet.
"""

from scep_server.assembly.first_run import (
    Plan,
    create_ledger,
    create_material,
    default_integration,
    quickstart_settings,
)
from scep_server.assembly.serving import serve
from scep_server.assembly.site import Site, load_authority, opened

__all__ = [
    "Plan",
    "Site",
    "create_ledger",
    "create_material",
    "default_integration",
    "load_authority",
    "opened",
    "quickstart_settings",
    "serve",
]
