"""Takes: decided events, the audit key file's bytes, a directory for the chain heads, committed rows to check.
Gives: rows chained by HMAC for the ledger to commit, JSON log lines after the commit, findings of a verification.
May touch: the head files and the log's file descriptor; the database is reached only through rows handed in.
"""

from scep_server.audit.coalesce import RefusalCoalescer
from scep_server.audit.log import EventLog, Unmirrored, log_event
from scep_server.audit.record import AuditRow
from scep_server.audit.trail import AuditTrail
from scep_server.audit.verify import Finding, verify

__all__ = ["AuditRow", "AuditTrail", "EventLog", "Finding", "RefusalCoalescer", "Unmirrored", "log_event", "verify"]
