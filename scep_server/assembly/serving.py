"""The server: what is made before the workers, what each of them runs, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

from scep_server import plugins
from scep_server.admin import AdminSite
from scep_server.assembly.expiry import ExpiryWatch
from scep_server.assembly.jobs import Beat, Jobs
from scep_server.assembly.plugin_jobs import PluginJobs, holder
from scep_server.assembly.road import build_road
from scep_server.assembly.site import Site, load_authority, open_audit, utc_now
from scep_server.audit import RefusalCoalescer
from scep_server.ca import CaSet
from scep_server.config import Settings
from scep_server.enrollment.limiter import SourceLimiter
from scep_server.enrollment.offload import Offload, here, on
from scep_server.enrollment.refusals import Limits as SourceLimits
from scep_server.enrollment.refusals import Refusals
from scep_server.errors import ScepServerError
from scep_server.keyfile import SecretKeyFile, read_key
from scep_server.ledger import open_ledger
from scep_server.metrics import Metrics
from scep_server.status import CrlPublisher, CrlSchedule, CrlStore
from scep_server.web import (
    AuthorityEndpoint,
    ClientAddress,
    Limits,
    Listener,
    PluginRoutes,
    PublicSite,
    ScepEndpoint,
    ServerCertificate,
    bind,
    run,
)
from scep_server.web.site import Endpoint

T = TypeVar("T")

REFRESH_SECONDS = 1.0
"""Changes made by commands reach a running server within two beats."""
UNFINISHED_SECONDS = 300.0
LOOK_SECONDS = 3600.0
EXPIRED_CHALLENGES_SECONDS = 60.0


class Shared:
    """What all workers of one server have in common, made before they are forked."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ca: CaSet = load_authority(settings)
        self.keys = SecretKeyFile(read_key(settings.secrets.key_file))
        self.metrics = Metrics(settings.server.workers, plugin_events=plugins.counters())
        self.sources = SourceLimits(
            guesses=SourceLimiter(settings.server.wrong_challenges_per_minute),
            passwords=SourceLimiter(settings.server.wrong_challenges_per_minute),
        )
        self.limits = Limits.of(settings.server)
        self.public = bind(settings.server.address)
        self.admin = bind(settings.server.admin_address, "admin_listen")


def serve(settings: Settings, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigurationError or LedgerUnusable when the start fails."""
    shared = Shared(settings)
    check_integrations(shared)
    server = settings.server
    run(lambda number: worker(shared, number), server.workers, grace=server.shutdown_seconds, on_ready=on_ready)


def check_integrations(shared: Shared) -> None:
    """One complaint for the operator before anything serves: an integration that cannot authorise safely (N3)."""
    ledger = open_ledger(shared.settings.ledger.connection_url(), audit=open_audit(shared.settings))
    try:
        Site(shared.settings, ledger, shared.keys, here).activate()
    finally:
        ledger.close()


async def worker(shared: Shared, number: int) -> Worker:
    """Everything of one worker, started."""
    shared.metrics.attach(number)
    made = Worker(shared, first=number == 0)
    await made.start()
    # What is loaded now lives as long as the process: the collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    return made


class Worker:
    """One process's server (web.workers.RunningServer)."""

    def __init__(self, shared: Shared, *, first: bool) -> None:
        """first: of all workers; it does what must be done once."""
        settings = shared.settings
        self._shared = shared
        self._first = first
        self._pool = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="scep")
        # The pages were checked once for all workers, before the fork.
        self._ledger = open_ledger(settings.ledger.connection_url(), audit=open_audit(settings), check_pages=False)
        offload = _offload(settings, self._pool)
        self._site = Site(settings, self._ledger, shared.keys, offload, shared.metrics, shared.sources)
        self._site.ca = shared.ca
        self._crls = _crl_store(self._site, self._pool)
        self._publisher = _crl_publisher(self._site, self._pool, self._crls)
        self._refusals = Refusals(self._ledger, RefusalCoalescer(utc_now), shared.sources, shared.metrics, utc_now)
        self._road = build_road(self._site, self._refusals, self._crls)
        self._tls = _tls(settings)
        self._mark = -1
        self._complaints: list[str] = []
        self._public = Listener(
            PublicSite(self._endpoints()),
            shared.public,
            shared.limits,
            metrics=shared.metrics,
            tls=self._tls.context if self._tls else None,
        )
        self._admin = Listener(AdminSite(shared.metrics, self._readiness), shared.admin, shared.limits)
        self._plugin_jobs = PluginJobs(self._ledger, self._site.work, utc_now, holder())
        self._jobs = Jobs(self._beats())
        shared.metrics.ask("crl_age_seconds", "Age of the oldest current CRL", self._crl_age)
        shared.metrics.ask("ca_expires_seconds", "Time until the issuing certificate ends", self._ca_left)

    async def start(self) -> None:
        """Load integrations and CRLs, then accept connections. What a crash left is finished beside them, by a job that
        begins at once: a service that must confirm it, and does not answer, keeps nobody else waiting.
        """
        self._complaints = await self._blocking(self._site.reactivate)
        await self._publisher.run()
        await self._crls.refresh()
        await self._public.start()
        await self._admin.start()
        self._jobs.start()

    async def stop(self, grace: float) -> None:
        """Accept no more, finish what is in flight within grace seconds, close everything."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        await self._public.stop(grace)
        await self._jobs.stop(max(1.0, end - loop.time()))
        await self._plugin_jobs.stop()
        await self._admin.stop(1.0)
        try:
            await self._road.settle()
            await self._refusals.flush(everything=True)
        finally:
            await self._site.close()
            self._pool.shutdown()
            self._ledger.close()

    def reload(self) -> None:
        """SIGHUP: take a changed TLS certificate."""
        if self._tls is not None:
            self._tls.reload()

    def _beats(self) -> Sequence[Beat]:
        beats = [
            Beat("integrations", self._refresh_integrations, REFRESH_SECONDS),
            Beat("crl publishing", self._publisher.run, REFRESH_SECONDS),
            Beat("crl refresh", self._crls.refresh, REFRESH_SECONDS),
            Beat("refusal counts", self._refusals.flush, REFRESH_SECONDS),
        ]
        if self._first:
            beats.append(Beat("unfinished entries", self._expire, UNFINISHED_SECONDS))
            watch = ExpiryWatch(self._shared.ca.own_certificates, utc_now)
            beats.append(Beat("expiry of our certificates", watch.look, LOOK_SECONDS))
            beats.append(Beat("work of integrations", self._plugin_jobs.look, REFRESH_SECONDS))
            beats.append(Beat("expired challenges", self._site.expire_challenges, EXPIRED_CHALLENGES_SECONDS))
        if self._tls is not None:
            beats.append(Beat("tls files", self._reload_tls, 5.0))
        return beats

    async def _refresh_integrations(self) -> None:
        mark = await self._blocking(self._ledger.integrations_mark)
        if mark != self._mark:
            self._complaints = await self._blocking(self._site.reactivate)
            self._mark = mark

    async def _expire(self) -> None:
        await self._site.reconcile()

    async def _reload_tls(self) -> None:
        self.reload()

    async def _readiness(self) -> Sequence[str]:
        problems = list(self._complaints)
        try:
            await self._blocking(self._ledger.integrations_mark)
        except ScepServerError as error:
            problems.append(f"ledger: {error}")
        if (self._ca_left() or 0) <= 0:
            problems.append("the issuing certificate has expired")
        return problems

    def _endpoints(self) -> Mapping[str, Endpoint]:
        shared, ca = self._shared, self._shared.ca
        scep = ScepEndpoint(
            self._road,
            limits=shared.limits,
            metrics=shared.metrics,
            addresses=ClientAddress(shared.settings.server.trusted_proxies),
            default_integration=shared.settings.server.default_integration,
        )
        authority = AuthorityEndpoint(ca.ca_certificates, self._crls, utc_now)
        routes = PluginRoutes(scep, self._site)
        return {
            "scep": routes,
            "webhooks": routes.webhook,
            "cgi-bin": scep.conventional,
            "certsrv": routes.conventional,
            "ca": authority.certificate,
            "crl": authority.crl,
        }

    def _crl_age(self) -> float | None:
        issuer_id = self._shared.ca.authority.issuer_id
        crls = [self._crls.newest(issuer_id, shard) for shard in range(self._shared.ca.authority.crl_shards)]
        ages = [(utc_now() - crl.this_update).total_seconds() for crl in crls if crl is not None]
        return max(ages) if ages else None

    def _ca_left(self) -> float | None:
        return (self._shared.ca.authority.chain()[0].not_after - utc_now()).total_seconds()

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _crl_schedule(settings: Settings) -> CrlSchedule:
    return CrlSchedule(
        lifetime=timedelta(hours=settings.ca.crl_validity_hours),
        renew_after=timedelta(hours=settings.ca.crl_renewal_hours),
    )


def _crl_store(site: Site, pool: Executor) -> CrlStore:
    authority = site.ca.authority
    return CrlStore(
        site.ledger,
        {authority.issuer_id: authority.crl_shards},
        pool=pool,
        clock=utc_now,
        schedule=_crl_schedule(site.settings),
    )


def _crl_publisher(site: Site, pool: Executor, store: CrlStore) -> CrlPublisher:
    authority = site.ca.authority
    return CrlPublisher(
        site.ledger,
        authority,
        authority.crl_shards,
        pool=pool,
        clock=utc_now,
        published=store.offer,
        schedule=_crl_schedule(site.settings),
    )


def _offload(settings: Settings, pool: Executor) -> Offload:
    """A local SQLite file answers in microseconds; a database server may not answer at all."""
    return here if settings.ledger.url.startswith("sqlite:") else on(pool)


def _tls(settings: Settings) -> ServerCertificate | None:
    certificate, key = settings.server.tls_certificate, settings.server.tls_key
    return None if certificate is None or key is None else ServerCertificate(certificate, key)
