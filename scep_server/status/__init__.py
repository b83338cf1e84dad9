"""Takes: an operator's decision to revoke, the ledger's revocations, an issuing CA to sign with.
Gives: revoked entries, CRLs whose numbers only rise, the newest CRL of each shard from memory.
May touch: the ledger and the CA through their sockets, and a thread pool; no file, no network.
"""

from scep_server.status.crl import CrlPublisher, CrlSchedule, CrlStore
from scep_server.status.revoke import REASONS, parse_reason, revoke

__all__ = ["REASONS", "CrlPublisher", "CrlSchedule", "CrlStore", "parse_reason", "revoke"]
