"""What `integration add` and `rotate-secret` show this once, for whom it is, and what to do next.

same: how the configuration was named (options.same), for the commands that are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scep_server.cli import mdm_form, output

if TYPE_CHECKING:
    from scep_server.assembly.integrations import Shown
    from scep_server.assembly.site import Site

_FOR_THE_MDM: Final = frozenset({"static", "dynamic", "jamf"})
"""Challenges whose secrets an MDM is given."""
_KEEPS_THE_OLD: Final = _FOR_THE_MDM | {"webhook"}
"""Challenges whose secret before stays valid beside the new one. What others do, only they know."""
_ASKS_A_SERVICE: Final = frozenset({"intune", "webhook"})
_FOR_TOKENS: Final = "json_url"
"""An address for programs; no MDM has a field for it."""


def show_added(site: Site, shown: Shown, same: str, *, as_json: bool) -> None:
    """A new integration."""
    _show(site, shown, same, as_json=as_json)
    if as_json:
        return
    mdm_form.lead_to_forms(shown.integration, same)
    if shown.integration.challenge in _ASKS_A_SERVICE:
        print(f"Next: scep-server integration test {shown.integration.name}{same}")


def show_rotated(site: Site, shown: Shown, same: str, *, dropped: bool, as_json: bool) -> None:
    """Its new secret. dropped: the one before has ended already."""
    _show(site, shown, same, as_json=as_json)
    if not as_json and not dropped and shown.integration.challenge in _KEEPS_THE_OLD:
        end = f"`scep-server integration set {shown.integration.name} --drop-old{same}`"
        print(f"The secret before stays valid until the next rotation, or until {end}.")


def _show(site: Site, shown: Shown, same: str, *, as_json: bool) -> None:
    name = shown.integration.name
    addresses = {
        called: url for called, url in shown.addresses.items() if called != _FOR_TOKENS or "token" in shown.secrets
    }
    record = {"integration": name, "scep_url": site.settings.scep_url(name), **addresses, **shown.secrets}
    if as_json:
        output.json_line(record)
    else:
        output.panel(_title(shown), record, _hint(site, shown, same))


def _title(shown: Shown) -> str:
    challenge = shown.integration.challenge
    if shown.secrets and challenge in _FOR_THE_MDM:
        return "Put these into the MDM" if "token" not in shown.secrets else "Put these into the MDM, or your program"
    if shown.secrets and challenge == "webhook":
        return "Give this to your receiver"
    return f"Integration {shown.integration.name}"


def _hint(site: Site, shown: Shown, same: str) -> str:
    if not shown.secrets:
        return ""
    name = shown.integration.name
    kept = shown.secrets.keys() <= site.integrations.reveal(name).keys()
    later = f"later with `scep-server integration show {name} --reveal{same}`"
    new = f"`scep-server integration rotate-secret {name}{same}` makes new ones"
    return f"Shown once; {later}." if kept else f"Shown once; {new}."
