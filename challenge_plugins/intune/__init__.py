"""Takes: enrolments of Intune devices, through the house's sockets; Entra ID, Microsoft Graph and Intune over HTTPS.
Gives: PLUGIN, the challenge plugin `intune`: Intune judges, confirms before release, and orders revocations.
May touch: the network through Host.outbound only; msal keeps tokens in memory.
"""

from __future__ import annotations

from challenge_plugins.intune.factory import IntuneFactory

PLUGIN = IntuneFactory()

__all__ = ["PLUGIN", "IntuneFactory"]
