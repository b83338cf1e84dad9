"""From settings to a connection: one server by TCP, TLS or socket; the master that Sentinel names; or a Cluster."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from scep_server.cache.breaker import Breaker
from scep_server.cache.server import RedisServer
from scep_server.config import Address, RedisSettings

PORT: Final = 6379


def connect(settings: RedisSettings, clock: Callable[[], float] = time.monotonic) -> RedisServer:
    """The Redis of these settings. Nothing is sent before its first command; make it in the process that uses it.

    clock: monotonic seconds, for the circuit breaker. ConfigurationError when a password cannot be read.
    """
    seconds = settings.timeout_ms / 1000
    options = {
        "username": settings.username,
        "password": settings.password(),
        "socket_timeout": seconds,
        "protocol": 2,  # the newer one asks on every connection for notices that would change its time-outs
        "driver_info": None,
    }
    # An idle connection that the server closed meanwhile is found out by using it: once more, at once.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    if settings.cluster_nodes:
        return _cluster(settings, seconds, clock, options)
    if settings.sentinels:
        return _sentinel(settings, seconds, clock, options | {"retry": retry})
    return _single(settings, seconds, clock, options | {"retry": retry})


def _tls(settings: RedisSettings) -> dict[str, Any]:
    if not settings.encrypted:
        return {}
    ca_file = None if settings.ca_file is None else str(settings.ca_file)
    return {"ssl": True, "ssl_ca_certs": ca_file, "ssl_cert_reqs": "required", "ssl_check_hostname": True}


def _single(
    settings: RedisSettings, seconds: float, clock: Callable[[], float], options: dict[str, Any]
) -> RedisServer:
    parts = urlsplit(settings.url or "")
    if parts.scheme == "unix":
        client = Redis(unix_socket_path=parts.path, socket_connect_timeout=seconds, **options)
    else:
        client = Redis(
            host=parts.hostname or "",
            port=parts.port or PORT,
            db=int(parts.path.strip("/") or 0),
            socket_connect_timeout=seconds,
            **_tls(settings),
            **options,
        )
    return RedisServer(
        client.execute_command, _dropping_idle(client), client.aclose, seconds=seconds, breaker=Breaker(clock)
    )


def _sentinel(
    settings: RedisSettings, seconds: float, clock: Callable[[], float], options: dict[str, Any]
) -> RedisServer:
    # A sentinel that is down must leave time to ask another and then the master.
    share = seconds / 3
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(address.host, address.port) for address in map(Address.parse, settings.sentinels)],
        sentinel_kwargs={
            "password": settings.sentinel_password(),
            "socket_timeout": share,
            "socket_connect_timeout": share,
            "protocol": 2,
            "driver_info": None,
            "retry": Retry(NoBackoff(), 0),
            **_tls(settings),
        },
    )
    client: Redis = sentinel.master_for(
        settings.sentinel_service or "", socket_connect_timeout=share, **_tls(settings), **options
    )

    async def close() -> None:
        await client.aclose()
        await sentinel.aclose()

    return RedisServer(client.execute_command, _dropping_idle(client), close, seconds=seconds, breaker=Breaker(clock))


def _cluster(
    settings: RedisSettings, seconds: float, clock: Callable[[], float], options: dict[str, Any]
) -> RedisServer:
    nodes = [ClusterNode(address.host, address.port) for address in map(Address.parse, settings.cluster_nodes)]
    client = RedisCluster(
        startup_nodes=nodes,
        dynamic_startup_nodes=False,  # those named stay: the cluster may have moved entirely while this one was away
        retry=Retry(NoBackoff(), 3),
        socket_connect_timeout=seconds / 3,
        **_tls(settings),
        **options,
    )

    async def reconnect() -> None:
        """Nothing: the client asks the cluster anew by itself."""

    return RedisServer(client.execute_command, reconnect, client.aclose, seconds=seconds, breaker=Breaker(clock))


def _dropping_idle(client: Redis) -> Callable[[], Awaitable[None]]:
    async def reconnect() -> None:
        await client.connection_pool.disconnect(inuse_connections=False)

    return reconnect
