"""Takes: a SCEP URL, a challenge or a certificate to renew, a subject, a CA fingerprint from elsewhere.
Gives: a verified certificate with its chain, or PENDING, or the server's refusal; every check that was made, by name.
May touch: the network towards that URL, and one folder for key, certificate and chain (0600, never overwritten).
"""

from scep_server.client.authority import Authority, NotVerified
from scep_server.client.enrolment import Client, Issued, Pending, Refused, get_authority, get_capabilities
from scep_server.client.folder import Folder, Outstanding
from scep_server.client.pki_message import Algorithms, Request
from scep_server.client.report import Check, Verdict
from scep_server.client.transport import Transport, Unavailable

__all__ = [
    "Algorithms",
    "Authority",
    "Check",
    "Client",
    "Folder",
    "Issued",
    "NotVerified",
    "Outstanding",
    "Pending",
    "Refused",
    "Request",
    "Transport",
    "Unavailable",
    "Verdict",
    "get_authority",
    "get_capabilities",
]
