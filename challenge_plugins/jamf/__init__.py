"""Takes: enrolment attempts, and Jamf Pro's `SCEPChallenge` webhook events.
Gives: PLUGIN, one-time challenges bound to the device that an event names.
May touch: its host only: the ledger's challenges, the key file, the audit.
"""

from challenge_plugins.jamf.factory import JamfFactory

PLUGIN = JamfFactory()

__all__ = ["PLUGIN", "JamfFactory"]
