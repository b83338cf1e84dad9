"""Takes: enrolment attempts, and what became of them.
Gives: PLUGIN, a challenge that the operator's own HTTPS endpoint judges, by signed JSON (docs/webhook.md).
May touch: the endpoint that the settings name, through Host.outbound; nothing that a request names.
"""

from challenge_plugins.webhook.factory import WebhookFactory

PLUGIN = WebhookFactory()

__all__ = ["PLUGIN", "WebhookFactory"]
