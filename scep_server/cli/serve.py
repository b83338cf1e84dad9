"""`scep-server serve` and `scep-server check`: run a configuration, or say whether it would run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from scep_server.cli.failures import REDIS_REMEDY, UNAVAILABLE, CommandFailed, say
from scep_server.cli.options import Config, Data, Json, settings_of

if TYPE_CHECKING:
    from scep_server.config import Settings
    from scep_server.errors import CacheUnavailable


def serve(
    data: Data = None,
    config: Config = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that serve; over the file's number.")] = None,
) -> None:
    """Serve until SIGTERM; requests in flight are finished first."""
    from scep_server.assembly import serving  # noqa: PLC0415 - see options.settings_of
    from scep_server.cli.logs import configure_logging  # noqa: PLC0415

    settings = settings_of(data, config)
    if workers is not None:
        settings = settings.model_copy(update={"server": settings.server.model_copy(update={"workers": workers})})
    configure_logging(settings.log)
    serving.serve(settings, lambda: say(f"serving {settings.public_url}/scep/ on {settings.server.listen}"))


def check(data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Check configuration, keys, database, Redis and integrations, and print the CA's fingerprints."""
    from scep_server.cli import output  # noqa: PLC0415

    settings = settings_of(data, config)
    record, fault = asyncio.run(_checked(settings))
    if as_json:
        output.json_line(record)
    else:
        output.fields(record)
    if fault is not None:
        raise CommandFailed(
            f"{fault}; the server would start, and answer one-time challenges with 503: {REDIS_REMEDY}",
            UNAVAILABLE,
        )


async def _checked(settings: Settings) -> tuple[dict[str, object], CacheUnavailable | None]:
    """Opens everything that serving opens, and nothing else. A server starts without its Redis, so that is told."""
    from scep_server.assembly.site import opened  # noqa: PLC0415
    from scep_server.ca import Fingerprints  # noqa: PLC0415
    from scep_server.errors import CacheUnavailable  # noqa: PLC0415

    fault: CacheUnavailable | None = None

    async with opened(settings) as site:
        certificates = site.ca.certificates
        integrations = site.integrations.list()
        site.activate()
        try:
            await site.ask_redis()
        except CacheUnavailable as error:
            fault = error
    root, issuing = Fingerprints.of(certificates.root), Fingerprints.of(certificates.issuing)
    record: dict[str, object] = {
        "public_url": settings.public_url,
        "integrations": [one.name for one in integrations],
        "root_sha256": root.sha256,
        "root_sha1": root.sha1,
        "issuing_ca_sha256": issuing.sha256,
        "issuing_ca_sha1": issuing.sha1,
    }
    if settings.redis.enabled:
        record["redis"] = "answers" if fault is None else "does not answer"
    return record, fault
