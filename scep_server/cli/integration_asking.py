"""`scep-server integration test` and `sync`: what asks the service behind an integration."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from scep_server.cli import output
from scep_server.cli.failures import UNAVAILABLE, CommandFailed
from scep_server.cli.options import Config, Data, Json, same, settings_of

if TYPE_CHECKING:
    from scep_server.types import Finding, RevocationResult

Name = Annotated[str, typer.Argument(metavar="NAME", help="The integration's name.")]


def try_out(name: Name, data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Try out an integration step by step: what was seen and, where a step fails, what mends it."""
    from scep_server.assembly.site import opened  # noqa: PLC0415 - see options.settings_of

    settings = settings_of(data, config)

    async def run() -> Sequence[Finding]:
        async with opened(settings) as site:
            return await site.check(name)

    with output.working(f"Asking the service behind {name} …"):
        findings = asyncio.run(run())
    failed = sum(not one.passed for one in findings)
    if as_json:
        output.json_line({"integration": name, "passed": not failed, "findings": [_finding(one) for one in findings]})
    else:
        _print(findings)
    if failed:
        raise CommandFailed(f"{failed} of {len(findings)} steps failed")


def sync(name: Name, data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Fetch the revocations that the service behind an integration asks for, and do them now."""
    from scep_server.assembly.site import opened  # noqa: PLC0415
    from scep_server.errors import Fault  # noqa: PLC0415
    from scep_server.types import RevocationOutcome  # noqa: PLC0415

    settings = settings_of(data, config)

    async def run() -> Sequence[RevocationResult]:
        async with opened(settings) as site:
            return await site.sync(name)

    with output.working(f"Asking the service behind {name} …"):
        try:
            results = asyncio.run(run())
        except Fault as fault:
            tried = f"scep-server integration test {name}{same(data, config)}"
            raise CommandFailed(f"{fault}; see `{tried}`", UNAVAILABLE) from fault
    counted = Counter(one.outcome for one in results)
    counts = {outcome.value: counted[outcome] for outcome in RevocationOutcome}
    revoked = [_serial(one) for one in results if one.outcome is RevocationOutcome.REVOKED]
    if as_json:
        output.json_line({"integration": name, "counts": counts, "serials": revoked})
    else:
        for serial in revoked:
            print(f"revoked {serial}")
        print(", ".join(f"{outcome.replace('_', ' ')} {count}" for outcome, count in counts.items()))
    if counted[RevocationOutcome.RETRY]:
        raise CommandFailed(f"{counted[RevocationOutcome.RETRY]} could not be done now; run it again", UNAVAILABLE)


def _finding(one: Finding) -> dict[str, object]:
    remedy = None if one.passed else one.remedy or None
    return {"step": one.step, "passed": one.passed, "text": one.text, "remedy": remedy}


def _print(findings: Sequence[Finding]) -> None:
    """What is told comes from services, so it is escaped. One remedy for several steps is told once."""
    told: set[str] = set()
    width = max((len(one.step) for one in findings), default=0)
    for one in findings:
        print(
            f"{'ok' if one.passed else 'FAILED':<6}  {output.printable(one.step):<{width}}  "
            f"{output.printable(one.text)}"
        )
        if one.remedy and not one.passed and one.remedy not in told:
            told.add(one.remedy)
            print(f"        {output.printable(one.remedy)}")


def _serial(result: RevocationResult) -> str:
    return f"{result.request.serial:x}" if result.request.serial is not None else "-"
