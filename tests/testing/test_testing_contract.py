"""Our own plugins keep the contract that everybody's must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from challenge_plugins import dynamic, intune, jamf, static, webhook
from scep_server.testing import PluginContract, Surroundings, Trial
from scep_server.types import MintOrder, NameBinding
from tests.plugins.intune_connection import SECRET, registered
from tests.plugins.webhook_receiver import PrivateCa, Received, Reply, ScriptedReceiver, saying
from tests.simulators.intune import IntuneSimulator

RIGHT = "correct-horse-battery"


NO_ADDRESSES = "it has no addresses beside the SCEP URL"
NO_CHECK = "it has no check of itself"
NO_COUNTERS = "it declares no counters"
NO_JOBS = "it has no jobs"
NO_MINTING = "it mints no challenges"
NO_NOTICES = "it takes no notices"
NO_PASSWORD = "it keeps no password that could be revealed"
NO_REVOCATIONS = "it knows of no revocations"
NO_ROUTES = "it has no routes"
NO_SECRET_SETTINGS = "it has no secret settings"
NO_SETTINGS = "it has no setting beside its secret"
NOTHING_TOLD = "it does not tell its settings"


class TestStatic(PluginContract):
    plugin = "static"
    factory = static.PLUGIN
    lacks = frozenset(
        {
            NO_ADDRESSES, NO_CHECK, NO_COUNTERS, NO_JOBS, NO_MINTING, NO_NOTICES, NO_REVOCATIONS, NO_ROUTES,
            NO_SETTINGS, NOTHING_TOLD,
        }
    )  # fmt: skip


class TestDynamic(PluginContract):
    plugin = "dynamic"
    factory = dynamic.PLUGIN
    options: ClassVar = {"kept_for_ec": "on", "username": "CORP\\mdm", "token": "on", "ceiling": "1000"}
    public = frozenset({"username"})
    lacks = frozenset({NO_JOBS, NO_NOTICES, NO_REVOCATIONS, NO_SECRET_SETTINGS})

    async def right_challenge(self, trial: Trial) -> str:
        bound = MintOrder(binding=NameBinding(subject=self.subject))
        return (await trial.plugin.mint((bound,), "test"))[0].challenge


class TestJamf(PluginContract):
    plugin = "jamf"
    factory = jamf.PLUGIN
    public = frozenset({"username"})
    lacks = frozenset({NO_JOBS, NO_NOTICES, NO_PASSWORD, NO_REVOCATIONS, NO_SECRET_SETTINGS})


def judge(received: Received) -> Reply:
    """A receiver that knows one challenge."""
    if received.message["type"] != "scep.request":
        return saying(received, "pong")
    right = received.message["challenge"] == RIGHT
    return saying(received) if right else saying(received, "deny", wrong_challenge=True)


class TestWebhook(PluginContract):
    plugin = "webhook"
    factory = webhook.PLUGIN
    lacks = frozenset({NO_ADDRESSES, NO_JOBS, NO_MINTING, NO_PASSWORD, NO_REVOCATIONS, NO_ROUTES})

    @asynccontextmanager
    async def surroundings(self, folder: Path) -> AsyncIterator[Surroundings]:
        ca = PrivateCa(folder)
        receiver = ScriptedReceiver(ca).start()
        receiver.behave = judge
        try:
            yield Surroundings({"url": receiver.url, "authorization": "Bearer of-the-gateway"}, ca.ca_file)
        finally:
            receiver.stop()

    async def right_challenge(self, trial: Trial) -> str:
        return RIGHT


class TestIntune(PluginContract):
    plugin = "intune"
    factory = intune.PLUGIN
    lacks = frozenset({NO_ADDRESSES, NO_JOBS, NO_MINTING, NO_NOTICES, NO_PASSWORD, NO_ROUTES})
    rotation: ClassVar = {"client_secret": SECRET}

    @asynccontextmanager
    async def surroundings(self, folder: Path) -> AsyncIterator[Surroundings]:
        async with IntuneSimulator() as simulator:
            ca_file = folder / "simulator-ca.pem"
            ca_file.write_bytes(simulator.ca_pem)
            tenant, _, options = registered(simulator)
            yield Surroundings(options, ca_file, (simulator, tenant))

    async def right_challenge(self, trial: Trial) -> str:
        simulator, tenant = trial.surroundings.peer
        return simulator.new_challenge(tenant).text
