"""What the house offers its challenge plugins (interfaces.Host), made from one process's parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from scep_server import plugins
from scep_server.enrollment.refusals import Limits
from scep_server.errors import ConfigurationError, TooManyAttempts
from scep_server.interfaces import Challenges, KeyFile, Outbound
from scep_server.metrics import Metrics
from scep_server.policy.bindings import canonical_subject
from scep_server.types import SAN_TYPES, Certificate, Event, Integration, OpenChallenge, Source, SpentChallenge

Record = Callable[[Sequence[Event]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class House:
    """Shared by the plugins of all integrations of a process."""

    public_url: str
    keys: KeyFile
    challenges: Challenges
    outbound: Outbound
    clock: Callable[[], datetime]
    metrics: Metrics
    limits: Limits
    issuer: Callable[[], Sequence[Certificate]]
    record: Record
    waiting: plugins.Waiting = field(default_factory=plugins.Waiting)

    def load(self, integration: Integration) -> plugins.GuardedPlugin:
        """The live plugin of an integration. ConfigurationError when its settings cannot be used."""
        host = IntegrationHost(self, integration)
        return plugins.load(integration.challenge, integration.name, integration.settings, host, self.waiting)


class IntegrationHost:
    """The house as one integration's plugin sees it."""

    def __init__(self, house: House, integration: Integration) -> None:
        self._house = house
        self._plugin = integration.challenge
        self._enabled = integration.enabled
        self.integration = integration.name
        self.public_url = house.public_url
        self.keys = house.keys
        self.challenges: Challenges = OwnChallenges(house.challenges, integration, house.metrics)
        self.outbound = house.outbound
        self.clock = house.clock

    def enabled(self) -> bool:
        """False while the operator has switched the integration off: a change loads the plugin anew."""
        return self._enabled

    def issuer(self) -> Sequence[Certificate]:
        """Issuing CA first, root last."""
        return self._house.issuer()

    def canonical_subject(self, text: str) -> str:
        """One text for all spellings of a name. ValueError when it is none."""
        return canonical_subject(text)

    def count(self, event: str, amount: int = 1) -> None:
        """Count one of the plugin's declared events."""
        self._house.metrics.plugin_event(self._plugin, event, amount)

    async def record(self, events: Sequence[Event]) -> None:
        """Audit."""
        await self._house.record(events)

    def throttle(self, what: str, per_minute: int) -> None:
        """TooManyAttempts when no token of `what` is left."""
        wait = self._house.limits.tokens.take(f"{self.integration}/{what}", per_minute, self.clock())
        if wait is not None:
            raise TooManyAttempts(wait)

    def wrong_password(self, source: Source) -> None:
        """TooManyAttempts from the sixth wrong password of a source within a minute on."""
        limiter, now = self._house.limits.passwords, self.clock()
        wait = limiter.retry_after(source.address, now)
        if wait is not None:
            raise TooManyAttempts(wait)
        limiter.count(source.address, now)


class OwnChallenges:
    """Unspent challenges as one integration sees them: new ones are counted, and for names that it certifies; none is
    older than itself. Who deletes an integration and makes another of the same name has ended what the first one gave
    out.
    """

    def __init__(self, inner: Challenges, integration: Integration, metrics: Metrics) -> None:
        self._inner = inner
        self._integration = integration
        self._since = integration.created_at
        self._metrics = metrics
        self.unspent = inner.unspent
        self.forget = inner.forget
        self.expire = inner.expire

    async def put(self, challenges: Sequence[OpenChallenge], ceiling: int | None, events: Sequence[Event]) -> None:
        """Keep and count them. ConfigurationError for one that is bound to a name which no certificate would say."""
        _refuse_lost_names(self._integration, challenges)
        await self._inner.put(challenges, ceiling, events)
        self._metrics.challenges.inc("minted", len(challenges))

    async def find(self, integration: str, mac: bytes) -> OpenChallenge | SpentChallenge | None:
        """By MAC."""
        found = await self._inner.find(integration, mac)
        return None if isinstance(found, OpenChallenge) and found.minted_at < self._since else found

    async def sealed(self, integration: str, lookup: bytes) -> Sequence[OpenChallenge]:
        """By lookup."""
        return [one for one in await self._inner.sealed(integration, lookup) if one.minted_at >= self._since]


def _refuse_lost_names(integration: Integration, challenges: Sequence[OpenChallenge]) -> None:
    """ConfigurationError for a challenge bound to a name that the integration's options drop from certificates."""
    admitted = integration.options.san_types
    bound = {san.partition(":")[0] for one in challenges for san in one.binding.sans or ()}
    if lost := sorted(bound & (SAN_TYPES - admitted)):
        wanted = ",".join(sorted(admitted | set(lost)))
        raise ConfigurationError(
            f"{integration.name} certifies no alternative names of type {', '.join(lost)}; "
            f"`scep-server integration set {integration.name} --option san_types={wanted}` lets it"
        )
