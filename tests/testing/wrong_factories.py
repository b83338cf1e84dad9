"""Factories that are wrong in one way each; the rest of them is right_plugin.py's."""

from __future__ import annotations

from typing import ClassVar

from scep_server.errors import ConfigurationError
from scep_server.types import OptionField
from tests.testing.right_plugin import RightFactory


class KeepsSecretInClear(RightFactory):
    def kept(self, secret, integration, keys):
        return secret

    def secret(self, integration, settings, keys):
        return settings["secret"]


class KeepsSecretInHex(KeepsSecretInClear):
    def kept(self, secret, integration, keys):
        return secret.encode().hex()

    def secret(self, integration, settings, keys):
        return bytes.fromhex(settings["secret"]).decode()


class ForgetsTheIntegration(RightFactory):
    def kept(self, secret, integration, keys):
        return keys.encrypt(secret.encode(), "right")

    def secret(self, integration, settings, keys):
        return keys.decrypt(settings["secret"], "right").decode()


class KeepsTuples(RightFactory):
    def create(self, integration, options, keys):
        settings, shown = super().create(integration, options, keys)
        return {**settings, "pair": (1, 2)}, shown


class TakesAnySetting(RightFactory):
    def create(self, integration, options, keys):
        return super().create(integration, {"secret": options.get("secret", "")}, keys)


class RepeatsTheValue(RightFactory):
    def create(self, integration, options, keys):
        secret = options.get("secret", "")
        if secret and not secret.isalnum():
            raise ConfigurationError(f"{secret!r} must be letters and digits")
        return super().create(integration, options, keys)


class MakesNewSecretsAlways(RightFactory):
    def rotate(self, integration, settings, options, keys):
        return self.create(integration, {}, keys)


class RotatesToTheSame(RightFactory):
    def rotate(self, integration, settings, options, keys):
        super().rotate(integration, settings, options, keys)
        return settings, {} if "keep_secret" in options else self.shown(integration, settings, keys)


class ShowsOldSecretsAgain(RightFactory):
    def rotate(self, integration, settings, options, keys):
        settings, shown = super().rotate(integration, settings, options, keys)
        return settings, shown or self.shown(integration, settings, keys)


class LosesSecretsOnChange(RightFactory):
    def rotate(self, integration, settings, options, keys):
        super().rotate(integration, settings, options, keys)
        settings, shown = self.create(integration, {}, keys)
        return settings, {} if "keep_secret" in options else shown


class ShowsMoreLater(RightFactory):
    def shown(self, integration, settings, keys):
        return {**super().shown(integration, settings, keys), "master": "0123456789abcdef"}


class ShowsControlCharacters(RightFactory):
    def create(self, integration, options, keys):
        settings, shown = super().create(integration, options, keys)
        return settings, {**shown, "note": "\x1b[31m"}


class NamesNoSetting(RightFactory):
    def create(self, integration, options, keys):
        if set(options) - {"secret"}:
            raise ConfigurationError("there is no such setting")
        return super().create(integration, options, keys)


class RepeatsUnknownValues(RightFactory):
    def rotate(self, integration, settings, options, keys):
        if unknown := set(options) - {"secret", "drop_old", "keep_secret"}:
            raise ConfigurationError(f"there is no {', '.join(f'{name}={options[name]}' for name in unknown)}")
        return super().rotate(integration, settings, options, keys)


class TellsTheSecretElsewhere(RightFactory):
    """Whoever copied the ledger to another integration reads the secret in the error."""

    made: ClassVar[list[str]] = []

    def kept(self, secret, integration, keys):
        self.made.append(secret)
        return super().kept(secret, integration, keys)

    def load(self, integration, settings, host):
        if integration != "corp":
            raise ConfigurationError(f"{self.made[-1]} is another integration's")
        return super().load(integration, settings, host)


class NamesASettingTwice(RightFactory):
    fields = RightFactory.fields * 2


class TakesACommandsWord(RightFactory):
    fields = (*RightFactory.fields, OptionField("drop_old", "ends the one before"))


class RequiresNothingReally(RightFactory):
    fields = (OptionField("secret", "of your choice", secret=True, required=True),)


class HelpsWithNothing(RightFactory):
    fields = (OptionField("secret", "", secret=True),)


class TellsTheSecret(RightFactory):
    """Under a name that is no secret's."""

    fields = (*RightFactory.fields, OptionField("note", "for people"))

    def kept(self, secret, integration, keys):
        self.noted = secret
        return super().kept(secret, integration, keys)

    def settings_in_force(self, settings):
        return {"note": f"opens with {self.noted}"}


class TellsASecretSetting(RightFactory):
    def settings_in_force(self, settings):
        return {"secret": "********"}


class TellsNoText(RightFactory):
    fields = (*RightFactory.fields, OptionField("count", "how many"))

    def settings_in_force(self, settings):
        return {"count": 1}


class DescribesNothing(RightFactory):
    @property
    def fields(self):
        raise AttributeError("fields")


class LeadsNowhere(RightFactory):
    addresses: ClassVar = {"hello_url": "/scep/{integration}/goodbye"}


class DeclaresNothing(RightFactory):
    counters: ClassVar = {}


class DeclaresTooMuch(RightFactory):
    counters: ClassVar = {**RightFactory.counters, **{f"event_{number}": "times" for number in range(40)}}


class DeclaresTheRest(RightFactory):
    """Under the name that the house counts everything undeclared by."""

    counters: ClassVar = {**RightFactory.counters, "other": "times"}


class DeclaresWithoutHelp(RightFactory):
    counters: ClassVar = {"ran": ""}
