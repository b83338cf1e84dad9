"""Makes, changes and loads the settings of a webhook.

Settings: {"url", "signing_secrets": [{"secret" (encrypted), "created_at"}, ...] newest first, "authorization"
(encrypted), "timeout_seconds", "retries", "send_challenge", "notify", "notify_url", "require_signed_answer"}; what
is not there has its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from challenge_plugins.webhook import settings as webhook_settings
from challenge_plugins.webhook.plugin import COUNTERS, NotifyingWebhook, WebhookChallenge
from scep_server.interfaces import ChallengePlugin, Host, KeyFile


class WebhookFactory:
    """The entry point `webhook`. Describes its settings and declares its counters."""

    fields = webhook_settings.FIELDS
    counters = COUNTERS

    def create(
        self, integration: str, options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Settings with a new signing secret, shown once unless it was given. ConfigurationError for unsafe values."""
        return webhook_settings.changed(integration, {}, options, keys)

    def rotate(
        self, integration: str, settings: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Changed settings and a new signing secret beside the one before; no new one with keep_secret=yes."""
        return webhook_settings.changed(integration, settings, options, keys)

    def shown(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Mapping[str, str]:
        """{"signing_secret": newest, "previous_signing_secret": the one before, if still valid}."""
        known = webhook_settings.signing_secrets(integration, settings, keys)
        names = ("signing_secret", "previous_signing_secret")
        return dict(zip(names, (secret.decode() for secret in known), strict=False))

    def settings_in_force(self, settings: Mapping[str, Any]) -> Mapping[str, str]:
        """As an operator writes them, defaults for the rest."""
        return webhook_settings.written(settings)

    def load(self, integration: str, settings: Mapping[str, Any], host: Host) -> ChallengePlugin:
        """ConfigurationError when nobody can be asked safely (N3)."""
        read = webhook_settings.read(integration, settings, host.keys)
        return NotifyingWebhook(read, host) if read.notify else WebhookChallenge(read, host)
