"""Takes: decisions to revoke, of operators and of services that plugins ask; notices that plugins are owed.
Gives: revoked entries, CRLs whose numbers only rise, the newest CRL of each shard from memory, told plugins.
May touch: the ledger, the CA and the plugins through their sockets, and a thread pool; no file, no network.
"""

from scep_server.status.crl import CrlPublisher, CrlSchedule, CrlStore
from scep_server.status.outbox import Outbox
from scep_server.status.pulled import Pulling
from scep_server.status.revoke import REASONS, parse_reason, revoke

__all__ = ["REASONS", "CrlPublisher", "CrlSchedule", "CrlStore", "Outbox", "Pulling", "parse_reason", "revoke"]
