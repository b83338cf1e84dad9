"""`integration test` and `sync` against a stand-in for Microsoft's side, as an operator runs them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scep_server.cli.output import printable
from tests.cli import program
from tests.cli.program import Quickstart, json_lines
from tests.plugins.intune_connection import app_pem
from tests.simulators.intune import RemoteSimulator

SECRET = "entra-app-secret"


@dataclasses.dataclass(frozen=True)
class Connected:
    """An Intune integration named default, over a ledger with certificates; no server runs."""

    intune: RemoteSimulator
    data: Path
    tenant: str
    client_id: str
    serial: str
    """Of a certificate that this integration issued."""

    def call(self, *arguments: object) -> Any:
        return program.call(*arguments, "--data", self.data, SCEP_SERVER_OUTBOUND__CA_FILE=str(self.intune.ca))


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connected]:
    folder = tmp_path_factory.mktemp("intune")
    listen = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--key-type", "p256")
    with program.serving("quickstart", "--data", folder / "data", *listen, "--json") as (line, _):
        site = Quickstart(folder / "data", json.loads(line))
        serial = site.enroll(folder / "device", "CN=device-1")["serial"]
    with RemoteSimulator(folder / "intune") as intune:
        tenant = intune.do("add_tenant", domains=["contoso.example"])["tenant_id"]
        client_id = intune.do("add_app", tenant=tenant, secret=SECRET)["client_id"]
        made = Connected(intune, site.data, tenant, client_id, serial)
        # Certificates belong to the integration's name: this one takes over those of the static one.
        assert made.call("integration", "delete", "default", "--yes").returncode == 0
        secret = folder / "secret"
        secret.write_text(SECRET)
        settings = {
            "tenant": tenant,
            "client_id": client_id,
            "authority": intune.authority,
            "graph_url": f"{intune.graph}/",
        }
        given = [part for key, value in settings.items() for part in ("--setting", f"{key}={value}")]
        added = made.call("integration", "add", "default", "--challenge", "intune", *given, "--secret-file", secret)
        assert added.returncode == 0, added.stderr
        yield made
        assert intune.violations == []


def test_a_connection_that_works_says_so_step_by_step(connected: Connected) -> None:
    done = connected.call("integration", "test", "default")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) >= 4
    assert all(line.startswith("ok ") for line in lines)
    told = connected.call("integration", "test", "default", "--json")
    (record,) = json_lines(told.stdout)
    assert (record["integration"], record["passed"], len(record["findings"])) == ("default", True, len(lines))


def test_a_missing_permission_is_a_failed_step_with_its_remedy(connected: Connected) -> None:
    app = {"tenant": connected.tenant, "client_id": connected.client_id}
    connected.intune.do("set_app", **app, roles=["scep_challenge_provider"])
    try:
        done = connected.call("integration", "test", "default")
        told = connected.call("integration", "test", "default", "--json")
    finally:
        connected.intune.do("set_app", **app, roles=["scep_challenge_provider", "Application.Read.All"])
    assert done.returncode == 1
    failed = [number for number, line in enumerate(done.stdout.splitlines()) if line.startswith("FAILED")]
    assert failed
    assert "Application.Read.All" in done.stdout.splitlines()[failed[0] + 1]
    assert "steps failed" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    (record,) = json_lines(told.stdout)
    assert (told.returncode, record["passed"]) == (1, False)
    assert connected.call("integration", "test", "default").returncode == 0


def test_a_certificate_takes_the_place_of_the_secret(connected: Connected, tmp_path: Path) -> None:
    pem, certificate = app_pem()
    uploaded = certificate.public_bytes(Encoding.PEM).decode()
    app = connected.intune.do("add_app", tenant=connected.tenant, certificates=[uploaded])["client_id"]
    (tmp_path / "app.pem").write_text(pem)
    (tmp_path / "secret").write_text(SECRET)
    rotate = ("integration", "rotate-secret", "default", "--json")
    given = ("--setting", f"client_id={app}", "--setting-file", f"client_certificate={tmp_path / 'app.pem'}")
    changed = connected.call(*rotate, *given)
    try:
        done = connected.call("integration", "test", "default")
    finally:
        back = ("--setting", f"client_id={connected.client_id}", "--secret-file", tmp_path / "secret")
        assert connected.call(*rotate, *back).returncode == 0
    assert (changed.returncode, done.returncode) == (0, 0), changed.stderr + done.stdout
    assert "client certificate" in done.stdout
    assert "PRIVATE KEY" not in changed.stdout + changed.stderr + done.stdout
    assert connected.intune.calls("token")[-1]["client_id"] == app
    assert connected.call("integration", "test", "default").returncode == 0


def test_sync_revokes_what_it_is_asked_to_and_says_which(connected: Connected) -> None:
    issuing = x509.load_pem_x509_certificate((connected.data / "ca" / "issuing.pem").read_bytes())
    ours = {"tenant": connected.tenant, "issuer_name": issuing.subject.rfc4514_string(), "ca_configuration": "default"}
    for serial in (f"00{connected.serial.upper()}", "123456"):
        connected.intune.do("request_revocation", serial_number=serial, **ours)
    done = connected.call("integration", "sync", "default")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"revoked {connected.serial}",
        "revoked 1, already revoked 0, not found 1, unreadable 0, retry 0",
    ]
    again = connected.call("integration", "sync", "default", "--json")
    (record,) = json_lines(again.stdout)
    assert (record["serials"], set(record["counts"].values())) == ([], {0})
    (certificate,) = json_lines(connected.call("cert", "show", connected.serial, "--json").stdout)
    assert certificate["state"] == "revoked"


def test_a_service_that_is_down_can_be_asked_later(connected: Connected) -> None:
    fault = connected.intune.do("fail", operation="downloadRevocationRequests", fault={"kind": "status", "status": 503})
    try:
        done = connected.call("integration", "sync", "default")
    finally:
        connected.intune.do("lift", number=fault["number"])
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.endswith(f"; see `scep-server integration test default --data {connected.data}`\n")


def test_what_services_say_cannot_drive_a_terminal() -> None:
    assert printable("403 \x1b[2J\n") == "403 \\x1b[2J\\x0a"
    assert printable("plain … text") == "plain … text"
