"""Which MDM can work with which challenge, and the form that results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from scep_server.assembly.forms import intune, jamf, workspace_one
from scep_server.assembly.forms.facts import Facts, Form, Mdm
from scep_server.errors import ConfigurationError
from scep_server.types import Integration

_MAKERS: Final[Mapping[tuple[Mdm, str], Callable[[Facts], Sequence[Form]]]] = {
    (Mdm.JAMF, "static"): jamf.static,
    (Mdm.JAMF, "dynamic"): jamf.dynamic,
    (Mdm.JAMF, "jamf"): jamf.webhook,
    (Mdm.WORKSPACE_ONE, "static"): workspace_one.static,
    (Mdm.WORKSPACE_ONE, "dynamic"): workspace_one.dynamic,
    (Mdm.INTUNE, "intune"): intune.delegated,
}
_REASONS: Final = {
    Mdm.JAMF: "Jamf Pro sends a static challenge, fetches one from a page, or asks this server's webhook for one",
    Mdm.WORKSPACE_ONE: "Workspace ONE sends a static challenge, or fetches one from a challenge URL",
    Mdm.INTUNE: "Intune makes its own challenges, which only Microsoft can check",
}
_MAKE_PROFILES_THEMSELVES: Final = {"intune": Mdm.INTUNE, "jamf": Mdm.JAMF}


def forms(mdm: Mdm, facts: Facts) -> Sequence[Form]:
    """The forms of an MDM. ConfigurationError when this integration's challenge is not one that the MDM can send."""
    check_fit(mdm, facts.integration)
    return _MAKERS[mdm, facts.integration.challenge](facts)


def fitting(integration: Integration) -> Sequence[Mdm]:
    """The MDMs that can work with an integration's challenge."""
    return [mdm for mdm in Mdm if _fits(mdm, integration.challenge)]


def check_fit(mdm: Mdm, integration: Integration) -> None:
    """ConfigurationError, naming the challenges that fit, when the MDM cannot work with this integration's."""
    name, challenge = integration.name, integration.challenge
    if _fits(mdm, challenge):
        return
    if mdm is Mdm.APPLE:
        raise ConfigurationError(
            f"the challenge of {name} is {challenge}: that MDM makes the device's profile itself; see what to type "
            f"into it with --for {_MAKE_PROFILES_THEMSELVES[challenge]}"
        )
    kinds = " or ".join(f"--challenge {kind}" for one, kind in _MAKERS if one is mdm)
    raise ConfigurationError(
        f"the challenge of {name} is {challenge}, which does not fit: {_REASONS[mdm]}; add an integration with {kinds}"
    )


def _fits(mdm: Mdm, challenge: str) -> bool:
    if mdm is Mdm.APPLE:
        return challenge not in _MAKE_PROFILES_THEMSELVES
    return (mdm, challenge) in _MAKERS
