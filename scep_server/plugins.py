"""Finds challenge plugins by entry point, and guards them: only our errors come out, and nothing hangs.

A stray exception becomes a Fault (503), a time-out too; a plugin can refuse a device only by saying so.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, TypeVar

from scep_server.errors import (
    ChallengesFull,
    ConfigurationError,
    Fault,
    Malformed,
    PluginFault,
    Refusal,
    ScepServerError,
    TooManyAttempts,
)
from scep_server.interfaces import (
    ChallengePlugin,
    ChallengePluginFactory,
    ChecksItself,
    ConfirmsRelease,
    DeclaresCounters,
    DescribesSettings,
    HasAddresses,
    HasJobs,
    HasRoutes,
    Host,
    JudgesRenewals,
    Mints,
    PullsRevocations,
    RevealsSecret,
    ShowsSettings,
    TakesNotices,
)
from scep_server.types import (
    Attempt,
    Certificate,
    Finding,
    Grant,
    HttpAnswer,
    HttpRequest,
    Minted,
    MintOrder,
    Notice,
    OptionField,
    PasswordHint,
    PluginJob,
    RevocationRequest,
    RevocationResult,
    Route,
)

GROUP: Final = "scep_server.challenge_plugins"
"""Entry point group; an entry's name is what `--challenge` takes."""
TIMEOUT: Final = 20.0
"""Seconds a plugin may take for one call on the road of a request."""
PATIENCE: Final = 120.0
"""Seconds for calls that no device waits for: checks, jobs, pulled revocations."""
PULLING: Final = "revocations"
"""Name of the work that fetches revocations, beside the names of a plugin's own jobs."""
LONGEST_PACE: Final = 366 * 86400
TEMPLATE: Final = re.compile(r"/scep/\{integration\}/[a-z0-9._-]{1,64}|/webhooks/[a-z0-9._-]{1,64}/\{integration\}")
"""What HasRoutes.routes may name."""

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


def fields(name: str) -> Sequence[OptionField]:
    """The settings a plugin says it takes; empty when it does not say. ConfigurationError when it is not installed."""
    made = factory(name)
    return tuple(made.fields) if isinstance(made, DescribesSettings) else ()


def settings_in_force(name: str, settings: Mapping[str, Any]) -> Mapping[str, str]:
    """What a plugin works with, as an operator writes it; empty when it does not say. Nothing but what it declares as
    not secret gets through. ConfigurationError when it is not installed, or cannot tell.
    """
    made = factory(name)
    if not isinstance(made, ShowsSettings):
        return {}
    public = {field.name for field in fields(name) if not field.secret}
    try:
        told = made.settings_in_force(settings)
        return {field: str(text) for field, text in told.items() if field in public}
    except ScepServerError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"challenge plugin {name!r} cannot tell its settings: {type(error).__name__}"
        ) from error


def addresses(name: str, integration: str) -> Mapping[str, str]:
    """Paths beside the SCEP URL, by what they are called. ConfigurationError when the plugin is not installed."""
    made = factory(name)
    if not isinstance(made, HasAddresses):
        return {}
    return {called: path.replace("{integration}", integration) for called, path in made.addresses.items()}


def counters() -> Mapping[str, Mapping[str, str]]:
    """What the installed plugins count: plugin to event to help text. One that does not load counts nothing."""
    declared: dict[str, Mapping[str, str]] = {}
    for name in available():
        try:
            made = factory(name)
        except ConfigurationError as error:
            log.warning("%s", error)
            continue
        if isinstance(made, DeclaresCounters):
            declared[name] = dict(made.counters)
    return declared


class Waiting:
    """How many requests of one process may wait for judges that somebody else's answer decides for. A service that
    hangs holds up its own devices, and several that do, as all tenants of one do, leave places for those of the rest.
    """

    def __init__(self, places: int = 64) -> None:
        """places: requests that the process works on at once."""
        self.own = max(1, places // 2)
        """Of one integration."""
        self.all = max(1, places * 3 // 4)
        self.now = 0


class GuardedPlugin:
    """A challenge plugin whose faults are ours. waiting: shared by all of a process."""

    def __init__(
        self, name: str, plugin: ChallengePlugin, timeout: float = TIMEOUT, waiting: Waiting | None = None
    ) -> None:
        self._all = waiting or Waiting()
        self._name = name
        self._plugin = plugin
        self._timeout = timeout
        self.confirm_blocks_release = isinstance(plugin, ConfirmsRelease) and plugin.confirm_blocks_release
        self.judges_renewals = self.confirm_blocks_release or (
            isinstance(plugin, JudgesRenewals) and plugin.judges_renewals
        )
        self.takes_notices = isinstance(plugin, TakesNotices)
        self.pull_seconds = self._pace(PULLING, plugin.pull_seconds) if isinstance(plugin, PullsRevocations) else None
        self._routes = self._asked_routes()
        self.jobs = self._asked_jobs()
        self._waiting = 0

    # --- on the road of a request

    async def redeem(self, attempt: Attempt) -> Grant:
        """Grant or Refusal from the plugin, a Fault for anything else, and for too many that wait."""
        with self._one_more():
            grant = await self._guard("redeem", lambda: self._plugin.redeem(attempt))
        if not isinstance(grant, Grant):
            raise PluginFault(f"challenge plugin {self._name} answered redeem with {type(grant).__name__}, not a Grant")
        return grant

    async def confirm(self, attempt: Attempt, certificate: Certificate) -> None:
        """Returns only when the plugin confirmed. Fault for too many that wait."""
        with self._one_more():
            await self._guard("confirm", lambda: self._plugin.confirm(attempt, certificate))

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        if not self.judges_renewals:
            # Who must be asked about renewals too asks elsewhere; one that knows by itself is as quick as we are.
            yield
            return
        if self._waiting >= self._all.own:
            raise PluginFault(
                f"{self._waiting} requests wait for what challenge plugin {self._name} asks", retry_after=5
            )
        if self._all.now >= self._all.all:
            raise PluginFault(f"{self._all.now} requests wait for what challenge plugins ask", retry_after=5)
        self._waiting += 1
        self._all.now += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._all.now -= 1

    async def report_failure(self, attempt: Attempt, refusal: Refusal) -> None:
        """Best effort: whatever happens here is logged and changes nothing."""
        try:
            await self._guard("report_failure", lambda: self._plugin.report_failure(attempt, refusal))
        except ScepServerError as error:
            log.warning("%s", error)

    async def reveal(self, hint: PasswordHint) -> Sequence[bytes]:
        """Candidate passwords; empty when the plugin keeps none that can be recovered."""
        plugin = self._plugin
        if not isinstance(plugin, RevealsSecret):
            return ()
        return await self._guard("reveal", lambda: plugin.reveal(hint))

    # --- beside it

    def route(self, template: str) -> Route | None:
        """The handler of a path template, guarded; None when the plugin does not serve it."""
        return self._routes.get(template)

    async def mint(self, orders: Sequence[MintOrder], requester: str) -> Sequence[Minted]:
        """New one-time challenges. ConfigurationError when the plugin makes none."""
        plugin = self._plugin
        if not isinstance(plugin, Mints):
            raise ConfigurationError(f"a {self._name} integration mints no challenges; a dynamic one does")
        return await self._guard("mint", lambda: plugin.mint(orders, requester))

    async def check(self) -> Sequence[Finding]:
        """What the plugin found about itself. ConfigurationError when it cannot tell."""
        plugin = self._plugin
        if not isinstance(plugin, ChecksItself):
            raise ConfigurationError(f"a {self._name} integration asks nobody else, so there is nothing to test")
        return await self._guard("check", plugin.check, PATIENCE)

    async def notified(self, notice: Notice) -> None:
        """Returns when the plugin took the notice."""
        plugin = self._plugin
        if isinstance(plugin, TakesNotices):
            await self._guard("notified", lambda: plugin.notified(notice))

    async def revocation_requests(self) -> Sequence[RevocationRequest]:
        """A batch of what waits. ConfigurationError when the plugin knows of no revocations."""
        plugin = self._plugin
        if not isinstance(plugin, PullsRevocations):
            raise ConfigurationError(
                f"this {self._name} integration has no revocations to fetch; an Intune one has, unless its setting "
                "`revocation` is off"
            )
        return await self._guard("revocation_requests", plugin.revocation_requests, PATIENCE)

    async def revocations_done(self, results: Sequence[RevocationResult]) -> None:
        """Returns when the results were taken."""
        plugin = self._plugin
        if isinstance(plugin, PullsRevocations):
            await self._guard("revocations_done", lambda: plugin.revocations_done(results), PATIENCE)

    # --- the guard

    def _asked_routes(self) -> Mapping[str, Route]:
        if not isinstance(self._plugin, HasRoutes):
            return {}
        routes = self._plugin.routes()
        for template in routes:
            if not TEMPLATE.fullmatch(template):
                raise ConfigurationError(f"challenge plugin {self._name} has a route {template!r}, which is not served")
        return {template: self._guarded(handler) for template, handler in routes.items()}

    def _guarded(self, handler: Route) -> Route:
        async def answer(request: HttpRequest) -> HttpAnswer:
            return await self._guard("route", lambda: handler(request))

        return answer

    def _asked_jobs(self) -> Sequence[PluginJob]:
        jobs = tuple(self._plugin.jobs()) if isinstance(self._plugin, HasJobs) else ()
        names = Counter(job.name for job in jobs)
        names.update(() if self.pull_seconds is None else (PULLING,))
        for name, count in names.items():
            if count > 1:
                raise ConfigurationError(
                    f"challenge plugin {self._name} has two jobs named {name!r}, one of which would never be run"
                )
        for job in jobs:
            self._pace(job.name, job.seconds)
        return jobs

    def _pace(self, work: str, seconds: Any) -> float:
        """One that no time can be counted with would end the beat of everybody's work."""
        if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_PACE:
            raise ConfigurationError(
                f"challenge plugin {self._name} wants {work!r} done every {seconds!r} seconds; 0 to {LONGEST_PACE} are "
                "possible"
            )
        return float(seconds)

    async def run(self, job: PluginJob) -> None:
        """One run of a background job."""
        await self._guard(job.name, job.run, PATIENCE)

    async def _guard(self, verb: str, call: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """The call is made in here: a method that is missing, or is no coroutine, is a stranger's mistake as well."""
        try:
            async with asyncio.timeout(self._timeout if seconds is None else seconds):
                return await call()
        except (Refusal, Fault, TooManyAttempts, ChallengesFull, ConfigurationError, Malformed) as error:
            if verb in _ROAD and not isinstance(error, Refusal | Fault):
                raise self._fault(verb, error) from error
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


_ROAD: Final = frozenset({"redeem", "confirm", "report_failure", "reveal"})
"""Where a device waits for a CertRep: a yes, a Refusal or a Fault, nothing else."""


def load(
    name: str, integration: str, settings: Mapping[str, Any], host: Host, waiting: Waiting | None = None
) -> GuardedPlugin:
    """The guarded live plugin of an integration. ConfigurationError when its settings cannot be used."""
    made = factory(name)
    try:
        return GuardedPlugin(name, made.load(integration, settings, host), waiting=waiting)
    except ScepServerError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"challenge plugin {name!r} cannot load the settings of integration {integration}: {type(error).__name__}"
        ) from error
