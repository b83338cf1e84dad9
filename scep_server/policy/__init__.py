"""Takes: a verified certification request, an integration's options, and the time it is now.
Gives: an IssueOrder (what a certificate shall say), or a Refusal with its reason; findings in a tbsCertificate.
May touch: nothing. No I/O, no clock, no key; the same input gets the same answer.
"""

from scep_server.policy.keys import check_key
from scep_server.policy.lint import LintIssuer, lint_tbs
from scep_server.policy.orders import make_order
from scep_server.policy.renewal import check_renewal

__all__ = ["LintIssuer", "check_key", "check_renewal", "lint_tbs", "make_order"]
