"""Finds challenge plugins by entry point, and guards them: only our errors come out, and nothing hangs.

A stray exception becomes a Fault (503), a time-out too; a plugin can refuse a device only by saying so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from scep_server.errors import ConfigurationError, Fault, PluginFault, Refusal, ScepServerError
from scep_server.interfaces import ChallengePlugin, ChallengePluginFactory, ConfirmsRelease, KeyFile, RevealsSecret
from scep_server.types import Attempt, Certificate, Grant

GROUP = "scep_server.challenge_plugins"
"""Entry point group; an entry's name is what `--challenge` takes."""
TIMEOUT = 20.0
"""Seconds a plugin may take for one call."""

T = TypeVar("T")
log = logging.getLogger(__name__)


def available() -> tuple[str, ...]:
    """Names of the installed challenge plugins, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def factory(name: str) -> ChallengePluginFactory:
    """The plugin of this name. ConfigurationError when it is not installed or does not load."""
    found: list[EntryPoint] = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        raise ConfigurationError(
            f"no challenge plugin is named {name!r}; installed: {', '.join(available()) or 'none'}"
        )
    if len({point.value for point in found}) > 1:
        raise ConfigurationError(f"several installed packages name a challenge plugin {name!r}; remove all but one")
    try:
        loaded: ChallengePluginFactory = found[0].load()
    except Exception as error:
        raise ConfigurationError(f"challenge plugin {name!r} ({found[0].value}) does not load: {error}") from error
    return loaded


class GuardedPlugin:
    """A challenge plugin whose faults are ours."""

    def __init__(self, name: str, plugin: ChallengePlugin, timeout: float = TIMEOUT) -> None:
        self._name = name
        self._plugin = plugin
        self._timeout = timeout
        self.confirm_blocks_release = isinstance(plugin, ConfirmsRelease) and plugin.confirm_blocks_release

    async def redeem(self, attempt: Attempt) -> Grant:
        """Grant or Refusal from the plugin, a Fault for anything else."""
        grant = await self._guard("redeem", self._plugin.redeem(attempt))
        if not isinstance(grant, Grant):
            raise PluginFault(f"challenge plugin {self._name} answered redeem with {type(grant).__name__}, not a Grant")
        return grant

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Returns only when the plugin confirmed."""
        await self._guard("confirm", self._plugin.confirm(attempt, certificate))

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Best effort: whatever happens here is logged and changes nothing."""
        try:
            await self._guard("report_failure", self._plugin.report_failure(attempt, refusal))
        except ScepServerError as error:
            log.warning("%s", error)

    def reveal(self, hint: str) -> Sequence[bytes]:
        """Candidate passwords; empty when the plugin keeps none that can be recovered."""
        if not isinstance(self._plugin, RevealsSecret):
            return ()
        try:
            return self._plugin.reveal(hint)
        except Exception as error:
            raise self._fault("reveal", error) from error

    async def _guard(self, verb: str, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                return await call
        except (Refusal, Fault):
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Something of the plugin's own was cancelled, not this request: its client gets an answer.
            raise self._fault(verb, error) from error
        except Exception as error:  # a stranger's code: whatever it raises is a fault of ours, never an answer
            raise self._fault(verb, error) from error

    def _fault(self, verb: str, error: BaseException) -> PluginFault:
        # The exception's text may hold the plugin's secrets, so only its type is told.
        return PluginFault(f"challenge plugin {self._name} failed in {verb}: {type(error).__name__}")


def load(name: str, integration: str, settings: Mapping[str, Any], keys: KeyFile) -> GuardedPlugin:
    """The guarded live plugin of an integration. ConfigurationError when its settings cannot be used."""
    made = factory(name)
    try:
        return GuardedPlugin(name, made.load(integration, settings, keys))
    except ScepServerError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"challenge plugin {name!r} cannot load the settings of integration {integration}: {type(error).__name__}"
        ) from error
