"""The guard around strangers' code: only our errors come out, and a plugin that hangs is cut off."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scep_server import plugins
from scep_server.errors import ConfigurationError, Fault, Reason, Refusal
from scep_server.types import (
    Attempt,
    CertificationRequest,
    Grant,
    HttpRequest,
    MessageType,
    PasswordHint,
    PluginJob,
    Source,
)

REQUEST = CertificationRequest(b"", b"", b"", b"", None, None, (), "")  # type: ignore[arg-type]
ATTEMPT = Attempt("corp", "tid", MessageType.PKCS_REQ, REQUEST, Source("192.0.2.1"), datetime.now(UTC))


class Stranger:
    """A third party's plugin that does what the test tells it."""

    def __init__(self, behaviour) -> None:
        self._behaviour = behaviour

    async def redeem(self, attempt):
        return await self._behaviour()

    async def confirm(self, attempt, certificate):
        await self._behaviour()

    async def report_failure(self, attempt, refusal):
        await self._behaviour()


async def raises_stranger() -> Grant:
    raise KeyError("hunter2-secret")


async def hangs() -> Grant:
    await asyncio.Event().wait()
    raise AssertionError


async def answers_true() -> bool:
    return True


async def cancels_its_own_work() -> Grant:
    work = asyncio.ensure_future(hangs())
    work.cancel()
    return await work


@pytest.mark.parametrize("behaviour", [raises_stranger, hangs, answers_true, cancels_its_own_work])
async def test_everything_but_a_grant_or_a_refusal_is_a_fault(behaviour) -> None:
    guarded = plugins.GuardedPlugin("stranger", Stranger(behaviour), timeout=0.05)
    with pytest.raises(Fault) as fault:
        await guarded.redeem(ATTEMPT)
    assert "hunter2" not in str(fault.value)


async def test_a_request_that_is_cancelled_stays_cancelled() -> None:
    asking = asyncio.ensure_future(plugins.GuardedPlugin("s", Stranger(hangs)).redeem(ATTEMPT))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_grant_and_a_refusal_pass_unchanged() -> None:
    grant = Grant(reference="r")

    async def yes() -> Grant:
        return grant

    async def no() -> Grant:
        raise Refusal(Reason.CHALLENGE, "no")

    assert await plugins.GuardedPlugin("s", Stranger(yes)).redeem(ATTEMPT) is grant
    with pytest.raises(Refusal):
        await plugins.GuardedPlugin("s", Stranger(no)).redeem(ATTEMPT)


async def test_report_failure_never_changes_the_answer() -> None:
    told = []

    async def notes_and_raises() -> Grant:
        told.append("told")
        raise OSError("gone")

    guarded = plugins.GuardedPlugin("s", Stranger(notes_and_raises))
    await guarded.report_failure(ATTEMPT, Refusal(Reason.CHALLENGE))
    assert told == ["told"]


async def test_a_plugin_without_a_recoverable_secret_reveals_nothing() -> None:
    assert await plugins.GuardedPlugin("s", Stranger(answers_true)).reveal(PasswordHint()) == ()


class Able(Stranger):
    """A stranger with every ability beside judging; each does what the test tells it."""

    pull_seconds = 60.0

    async def mint(self, orders, requester):
        return await self._behaviour()

    async def check(self):
        return await self._behaviour()

    async def reveal(self, hint):
        return await self._behaviour()

    async def notified(self, notice):
        await self._behaviour()

    async def revocation_requests(self):
        return await self._behaviour()

    async def revocations_done(self, results):
        await self._behaviour()

    def routes(self):
        return {"/scep/{integration}/door": lambda request: self._behaviour()}


REQUEST_TO_DOOR = HttpRequest("GET", "", "", {}, b"", Source("192.0.2.1"), confidential=True)
CALLS = {
    "mint": lambda plugin: plugin.mint((), "test"),
    "check": lambda plugin: plugin.check(),
    "reveal": lambda plugin: plugin.reveal(PasswordHint()),
    "notified": lambda plugin: plugin.notified(None),
    "revocation_requests": lambda plugin: plugin.revocation_requests(),
    "revocations_done": lambda plugin: plugin.revocations_done(()),
    "route": lambda plugin: plugin.route("/scep/{integration}/door")(REQUEST_TO_DOOR),
}


@pytest.mark.parametrize("call", CALLS)
async def test_every_ability_is_guarded(call: str) -> None:
    with pytest.raises(Fault) as fault:
        await CALLS[call](plugins.GuardedPlugin("stranger", Able(raises_stranger)))
    assert "hunter2" not in str(fault.value)


class Blunt:
    """One whose methods are no coroutines, and raise before there is anything to wait for."""

    pull_seconds = 60.0

    def _raises(self, *_):
        raise KeyError("hunter2-secret")

    redeem = confirm = report_failure = reveal = mint = check = _raises
    notified = revocation_requests = revocations_done = _raises

    def routes(self):
        return {"/scep/{integration}/door": self._raises}


ROAD = {
    "redeem": lambda plugin: plugin.redeem(ATTEMPT),
    "confirm": lambda plugin: plugin.confirm(ATTEMPT, None),
    "job": lambda plugin: plugin.run(PluginJob("job", 60.0, Blunt()._raises)),
}


@pytest.mark.parametrize("call", CALLS | ROAD)
async def test_what_raises_before_it_can_be_awaited_is_guarded_too(call: str) -> None:
    with pytest.raises(Fault, match="KeyError") as fault:
        await (CALLS | ROAD)[call](plugins.GuardedPlugin("stranger", Blunt()))
    assert "hunter2" not in str(fault.value)


@pytest.mark.parametrize("stranger", [Blunt(), object()], ids=["raises", "has none"])
async def test_no_report_of_a_failure_changes_the_answer(stranger) -> None:
    await plugins.GuardedPlugin("stranger", stranger).report_failure(ATTEMPT, Refusal(Reason.CHALLENGE))


@pytest.mark.parametrize("call", ["mint", "check", "revocation_requests"])
async def test_an_ability_that_is_not_there_is_said_so(call: str) -> None:
    with pytest.raises(ConfigurationError, match="stranger"):
        await CALLS[call](plugins.GuardedPlugin("stranger", Stranger(raises_stranger)))


async def test_on_the_road_only_a_refusal_or_a_fault_comes_out() -> None:
    async def misconfigured() -> Grant:
        raise ConfigurationError("the password is hunter2")

    guarded = plugins.GuardedPlugin("stranger", Able(misconfigured))
    with pytest.raises(Fault, match="ConfigurationError") as fault:
        await guarded.redeem(ATTEMPT)
    assert "hunter2" not in str(fault.value)
    with pytest.raises(ConfigurationError):
        await guarded.mint((), "an operator, who is to read it")


@pytest.mark.parametrize(
    "template",
    ["/scep/default/door", "/scep/{integration}/", "/scep/{integration}/Door", "/admin/{integration}", "/webhooks/x"],
)
def test_a_route_that_is_not_served_is_refused_at_once(template: str) -> None:
    class Elsewhere(Stranger):
        def routes(self):
            return {template: None}

    with pytest.raises(ConfigurationError, match="not served"):
        plugins.GuardedPlugin("stranger", Elsewhere(answers_true))


@pytest.mark.parametrize("seconds", [-1, 1e12, float("nan"), float("inf"), "60", None])
@pytest.mark.parametrize("what", ["pull_seconds", "jobs"])
def test_a_pace_that_would_end_all_background_work_is_refused_at_once(what: str, seconds) -> None:
    told = {"pull_seconds": seconds, "jobs": lambda self: [PluginJob("sweep", seconds, hangs)]}
    with pytest.raises(ConfigurationError, match="seconds"):
        plugins.GuardedPlugin("stranger", type("Paced", (Able,), {what: told[what]})(answers_true))


@pytest.mark.parametrize("names", [["revocations"], ["sweep", "sweep"]])
def test_a_job_that_would_stand_in_anothers_place_is_refused_at_once(names: list[str]) -> None:
    class Working(Able):
        def jobs(self):
            return [PluginJob(name, 60.0, hangs) for name in names]

    with pytest.raises(ConfigurationError, match=f"two jobs named '{names[0]}'"):
        plugins.GuardedPlugin("stranger", Working(answers_true))


def test_ours_is_found_by_entry_point_and_an_unknown_one_is_named() -> None:
    assert "static" in plugins.available()
    with pytest.raises(ConfigurationError, match="static"):
        plugins.factory("carrier-pigeon")


FACTORY = """
from scep_server.types import OptionField

class Factory:
    fields = (OptionField("url", "where"), OptionField("token", "key", secret=True))

    def settings_in_force(self, settings):
        return {**settings["told"], "token": "hunter2"}

PLUGIN = Factory()
"""


def test_of_a_strangers_settings_only_the_declared_ones_that_are_no_secret_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "teller.py").write_text(FACTORY)
    metadata = tmp_path / "teller-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: teller\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nteller = teller:PLUGIN\n")
    monkeypatch.syspath_prepend(tmp_path)
    told = {"url": "https://there.example/", "undeclared": "hunter2"}
    assert plugins.settings_in_force("teller", {"told": told}) == {"url": "https://there.example/"}
    with pytest.raises(ConfigurationError, match="cannot tell its settings: KeyError"):
        plugins.settings_in_force("teller", {})
    assert plugins.settings_in_force("static", {}) == {}
