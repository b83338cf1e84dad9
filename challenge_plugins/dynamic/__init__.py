"""Takes: enrolment attempts, and requests of MDMs and programs that hold the integration's credentials.
Gives: PLUGIN, one-time challenges from an NDES-style page and from JSON; to the plugins beside it, their parts.
May touch: its host only: the ledger's challenges, the key file, the audit.
"""

from challenge_plugins.dynamic.factory import DynamicChallengeFactory

PLUGIN = DynamicChallengeFactory()

__all__ = ["PLUGIN", "DynamicChallengeFactory"]
