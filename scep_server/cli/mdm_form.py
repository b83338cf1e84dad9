"""`integration show --for`: an MDM's form, filled; or a profile file for Apple devices."""

from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from scep_server.cli import output
from scep_server.cli.failures import USAGE, CommandFailed, say, warn

if TYPE_CHECKING:
    from scep_server.assembly.forms import Facts, Form
    from scep_server.assembly.site import Site
    from scep_server.types import Integration


class Choice(enum.StrEnum):
    """What --for takes (assembly.forms.Mdm, which is slow to import)."""

    JAMF = "jamf"
    WORKSPACE_ONE = "workspace-one"
    INTUNE = "intune"
    APPLE = "apple"


For = Annotated[
    Choice | None,
    typer.Option(
        "--for",
        show_choices=True,
        help="What to type into this MDM's forms; apple: a .mobileconfig on standard output.",
    ),
]
_NAMES: Final = frozenset({"username", "header_name"})
"""Beside the secrets, and none themselves."""
_MINTS: Final = "dynamic"
"""The challenge that `challenge mint` makes for a profile. It makes jamf ones too, whose profiles Jamf Pro makes."""


@dataclass(frozen=True, slots=True)
class Where:
    """The configuration in use, for what is said about it."""

    file: Path
    same: str
    """As options.same."""


def show(site: Site, name: str, choice: Choice, where: Where, *, reveal: bool, as_json: bool) -> None:
    """Print the forms, or the profile. ConfigurationError when this MDM cannot use this integration."""
    from scep_server.assembly.forms import Mdm, check_fit, forms  # noqa: PLC0415 - see options.settings_of

    mdm = Mdm(choice)
    check_fit(mdm, site.integrations.show(name))
    facts = _facts(site, name, reveal=reveal)
    if mdm is Mdm.APPLE:
        if as_json:
            raise CommandFailed("--for apple prints a profile; leave out --json", USAGE)
        _profile(facts, where, reveal=reveal)
        return
    if facts.scep_url.startswith("http:"):
        warn(
            f"public_url is {site.settings.public_url}: an MDM and its devices need https, at a name that they "
            f"can reach; set public_url in section [server] of {where.file}, and restart the server"
        )
    made = forms(mdm, facts)
    if as_json:
        output.json_line({"integration": name, "for": str(mdm), "forms": [_record(form) for form in made]})
    else:
        _print(made)


def lead_to_forms(integration: Integration, same: str) -> None:
    """One line that says where the forms of a new integration are. same: options.same."""
    from scep_server.assembly.forms import fitting  # noqa: PLC0415

    first, *others = map(str, fitting(integration))
    alternatives = f" (or {', '.join(others)})" if others else ""
    print(f"What to type where: `scep-server integration show {integration.name}{same} --for {first}`{alternatives}.")


def _facts(site: Site, name: str, *, reveal: bool) -> Facts:
    from scep_server.assembly.forms import HIDDEN, gather  # noqa: PLC0415

    integration = site.integrations.show(name)
    secrets = {
        key: value if reveal or key in _NAMES else HIDDEN for key, value in site.integrations.reveal(name).items()
    }
    return gather(site.settings, integration, site.integrations.addresses(integration), secrets)


def _profile(facts: Facts, where: Where, *, reveal: bool) -> None:
    from scep_server.assembly.apple_profile import (  # noqa: PLC0415
        CHALLENGE_PLACEHOLDER,
        DEVICE_PLACEHOLDER,
        apple_profile,
    )

    sys.stdout.write(apple_profile(facts, reveal=reveal).decode())
    sys.stdout.flush()
    say(f"replace {DEVICE_PLACEHOLDER} by your MDM's variable for the device, such as $UDID in Jamf Pro")
    if not reveal:
        say(f"replace {CHALLENGE_PLACEHOLDER} by the challenge" + _whence(facts, where))


def _whence(facts: Facts, where: Where) -> str:
    """Where the challenge is, for who has the profile only."""
    if "challenge" in facts.secrets:
        return ", or let --reveal write it"
    if facts.integration.challenge == _MINTS:
        return f", another one for each device: `scep-server challenge mint {facts.integration.name}{where.same}`"
    return ", the one the device is to present"


def _record(form: Form) -> dict[str, object]:
    return {
        "form": form.where,
        "fields": [{"field": one.name, "value": one.value, "note": one.note or None} for one in form.fields],
    }


def _print(made: Sequence[Form]) -> None:
    width = max(len(one.name) for form in made for one in form.fields)
    for number, form in enumerate(made):
        print(("\n" if number else "") + form.where)
        for one in form.fields:
            note = f"({one.note})" if one.note else ""
            print(f"  {one.name:<{width}}  {'  '.join(part for part in (output.printable(one.value), note) if part)}")
