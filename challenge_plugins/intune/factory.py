"""Makes, changes and loads the settings of an Intune connection; the credential is kept encrypted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from challenge_plugins.intune import settings as intune_settings
from challenge_plugins.intune.credential import ClientSecret, Credential, parse_certificate
from challenge_plugins.intune.plugin import COUNTERS, IntunePlugin, RevokingIntunePlugin
from challenge_plugins.intune.settings import CERTIFICATE, SECRET, checked
from scep_server.errors import ConfigurationError
from scep_server.interfaces import ChallengePlugin, Host, KeyFile
from scep_server.types import OptionField

MAX_SECRET: Final = 1024


class IntuneFactory:
    """The factory of the plugin `intune`.

    Settings: {"options": {name: text}, and either "client_secret" or "client_certificate", encrypted}. Nothing of
    them is ever shown: the secret was made in Entra ID and is seen there, once.
    """

    fields: Sequence[OptionField] = intune_settings.FIELDS
    counters: Mapping[str, str] = COUNTERS

    def create(
        self, integration: str, options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Check and keep the options. ConfigurationError for a wrong one, or without a credential."""
        given = {name: text for name, text in options.items() if name != "keep_secret"}
        checked(given)
        return {"options": _plain(given), **_sealed(integration, given, keys)}, {}

    def rotate(
        self, integration: str, settings: Mapping[str, Any], options: Mapping[str, str], keys: KeyFile
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Replace the credential, and any other setting that is given. With keep_secret the credential may stay.

        There is only ever one, so drop_old changes nothing beside a new one, and alone it is refused.
        """
        given = {name: text for name, text in options.items() if name not in {"keep_secret", "drop_old"}}
        if options.get("keep_secret") == "yes" and options.get("drop_old") == "yes":
            raise ConfigurationError(f"{integration} has one credential for Entra ID, and no older one to end")
        kept = {**settings.get("options", {}), **_plain(given)}
        checked({**kept, **given})
        if given.keys() & {SECRET, CERTIFICATE} or options.get("keep_secret") != "yes":
            return {"options": kept, **_sealed(integration, given, keys)}, {}
        credential = {name: settings[name] for name in (SECRET, CERTIFICATE) if name in settings}
        return {"options": kept, **credential}, {}

    def shown(self, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Mapping[str, str]:
        """Nothing: the credential is Entra's to show."""
        return {}

    def settings_in_force(self, settings: Mapping[str, Any]) -> Mapping[str, str]:
        """As written, defaults for the rest; what has neither is not told."""
        written = {**intune_settings.DEFAULTS, **settings.get("options", {})}
        return {name: str(text) for name, text in written.items() if text}

    def load(self, integration: str, settings: Mapping[str, Any], host: Host) -> ChallengePlugin:
        """The live plugin; asks nobody yet. ConfigurationError when the settings or the credential cannot be used."""
        options = checked(settings.get("options", {}))
        credential = _opened(integration, settings, host.keys)
        plugin = RevokingIntunePlugin if options.revocation else IntunePlugin
        return plugin(options, credential, host)


def _plain(given: Mapping[str, str]) -> dict[str, str]:
    return {name: text.strip() for name, text in given.items() if name not in {SECRET, CERTIFICATE}}


def _sealed(integration: str, given: Mapping[str, str], keys: KeyFile) -> dict[str, str]:
    secret, pem = given.get(SECRET, "").strip(), given.get(CERTIFICATE, "").strip()
    if bool(secret) == bool(pem):
        raise ConfigurationError(
            "give the app's client secret (--secret-file or --secret-env), or its certificate and key (--setting-file "
            "client_certificate=FILE), one of the two; Entra admin center, App registrations, Certificates & secrets"
        )
    if pem:
        parse_certificate(pem.encode())
        return {CERTIFICATE: keys.encrypt(pem.encode(), _context(integration, CERTIFICATE))}
    if len(secret) > MAX_SECRET or not secret.isprintable() or not secret.isascii():
        raise ConfigurationError(
            f"{SECRET}: not a client secret (printable ASCII, at most {MAX_SECRET} characters); copy its value again"
        )
    return {SECRET: keys.encrypt(secret.encode(), _context(integration, SECRET))}


def _opened(integration: str, settings: Mapping[str, Any], keys: KeyFile) -> Credential:
    if SECRET in settings:
        return ClientSecret(keys.decrypt(settings[SECRET], _context(integration, SECRET)).decode())
    if CERTIFICATE in settings:
        return parse_certificate(keys.decrypt(settings[CERTIFICATE], _context(integration, CERTIFICATE)))
    raise ConfigurationError(
        f"integration {integration} has no credential for Entra ID, so it would accept nobody; "
        f"run `scep-server integration rotate-secret {integration} --secret-file FILE`"
    )


def _context(integration: str, name: str) -> str:
    return f"intune:{integration}:{name}"
