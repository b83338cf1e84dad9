"""A serving scep-server that asks a receiver over HTTPS: what devices are answered, and what the receiver is told."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.e2e import wire
from tests.e2e.crafted import attributes_of, message, pkcs_req, seal
from tests.e2e.identities import Device, certification_request, dns_san, rsa_key
from tests.e2e.outcomes import BAD_REQUEST, PENDING, SUCCESS, outcome_of, send
from tests.e2e.polling import until
from tests.e2e.server import ScepServer
from tests.plugins.webhook_receiver import PrivateCa, Received, Reply, ScriptedReceiver, saying
from tests.plugins.webhook_schema import SCHEMAS, faults

CHALLENGE = "a challenge of the receiver"
QUESTIONS = {"scep.request": "Question", "scep.issued": "Issued", "scep.failed": "Failed", "scep.ping": "Ping"}


@dataclass
class Desk:
    """The operator's system: decides by common name, and remembers what it was told."""

    receiver: ScriptedReceiver
    decisions: dict[str, Callable[[Received], Reply]] = field(default_factory=dict)

    def __call__(self, received: Received) -> Reply:
        message = received.message
        assert faults(SCHEMAS[QUESTIONS[message["type"]]], message) == []
        if message["type"] in {"scep.issued", "scep.failed"}:
            return Reply(204)
        return self.decisions.get(message["csr"]["common_name"], saying)(received)

    def told(self, kind: str, transaction_id: str) -> list[Received]:
        """Notices of this kind about this transaction."""
        return [
            received
            for received in self.receiver.received
            if received.message["type"] == kind and received.message["transaction_id"] == transaction_id
        ]

    def asked(self, common_name: str) -> list[Received]:
        questions = [received for received in self.receiver.received if received.message["type"] == "scep.request"]
        return [received for received in questions if received.message["csr"]["common_name"] == common_name]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCa:
    return PrivateCa(tmp_path_factory.mktemp("receiver"))


@pytest.fixture(scope="module")
def desk(ca: PrivateCa) -> Iterator[Desk]:
    desk = Desk(ScriptedReceiver(ca).start())
    desk.receiver.behave = desk
    yield desk
    desk.receiver.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, ca: PrivateCa) -> Iterator[ScepServer]:
    """A server of its own: these tests guess, and it trusts the receiver's CA."""
    environment = {"SCEP_SERVER_OUTBOUND__CA_FILE": str(ca.ca_file)}
    with ScepServer(tmp_path_factory.mktemp("webhook") / "data", "p256", environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def url(server: ScepServer, desk: Desk) -> str:
    """SCEP URL of an integration that asks the desk."""
    return added(server, "desk", url=desk.receiver.url, timeout_seconds="2", retries="0")


def added(server: ScepServer, name: str, options: Sequence[str] = (), **settings: str) -> str:
    """`integration add --challenge webhook`; the SCEP URL, once it is served."""
    pairs = [text for key, value in settings.items() for text in ("--setting", f"{key}={value}")]
    pairs += [text for option in options for text in ("--option", option)]
    done = server.run("integration", "add", name, "--challenge", "webhook", *pairs, "--json")
    scep_url = str(json.loads(done.stdout)["scep_url"])
    server.await_integration(scep_url)
    return scep_url


def enrol(server: ScepServer, name: str, challenge: str | None = CHALLENGE, **options: str) -> tuple[Device, bytes]:
    """A device and its request."""
    device = Device.named(name)
    return device, pkcs_req(device, server.ra, challenge, transaction_id=options.get("tid", name))


def certificates(server: ScepServer, name: str) -> list[str]:
    return [row["state"] for row in server.certificates() if f"CN={name}" in row["subject"]]


def audited(server: ScepServer) -> str:
    """Every audit event, as it lies in the ledger."""
    with contextlib.closing(sqlite3.connect(server.data / "ledger.sqlite3")) as ledger:
        return "\n".join(body for (body,) in ledger.execute("SELECT body FROM event"))


def metric(server: ScepServer, event: str) -> float:
    page = wire.request("GET", f"http://127.0.0.1:{server.admin_port}/metrics").body.decode()
    wanted = f'scep_server_plugin_events_total{{event="{event}",plugin="webhook"}} '
    return sum(float(line.removeprefix(wanted)) for line in page.splitlines() if line.startswith(wanted))


# --- decisions


def test_webhook_allows_and_is_told(server: ScepServer, url: str, desk: Desk):
    device, body = enrol(server, "allowed")
    certificate = send(url, body).certrep.certificate(device)
    (question,) = desk.asked("allowed")
    assert (question.message["challenge"], question.message["integration"]) == (CHALLENGE, "desk")
    until(lambda: desk.told("scep.issued", "allowed"), 15)
    (notice,) = desk.told("scep.issued", "allowed")
    told = notice.message["certificate"]
    assert told["serial"] == f"{certificate.serial_number:x}"
    assert base64.b64decode(told["der"]) == certificate.public_bytes(Encoding.DER)


def test_webhook_denies(server: ScepServer, url: str, desk: Desk):
    desk.decisions["denied"] = lambda received: saying(received, "deny", reason="sold to a museum")
    _, body = enrol(server, "denied")
    answer = wire.post(url, body)
    assert outcome_of(answer).short == BAD_REQUEST
    assert b"museum" not in answer.body
    assert "sold to a museum" in audited(server)
    assert certificates(server, "denied") == []


def test_webhook_leaves_it_to_an_operator(server: ScepServer, url: str, desk: Desk):
    desk.decisions["waiting"] = lambda received: saying(received, "pending")
    device, body = enrol(server, "waiting")
    assert [send(url, body).short for _ in range(2)] == [PENDING, PENDING]
    (waiting,) = [row for row in server.requests() if row["transaction_id"] == "waiting"]
    server.run("request", "approve", str(waiting["id"]))
    assert send(url, body).certrep.certificate(device)
    assert certificates(server, "waiting") == ["issued"]
    until(lambda: desk.told("scep.issued", "waiting"), 15)


def test_webhook_is_told_of_a_rejection(server: ScepServer, url: str, desk: Desk):
    desk.decisions["rejected"] = lambda received: saying(received, "pending")
    _, body = enrol(server, "rejected")
    assert send(url, body).short == PENDING
    (waiting,) = [row for row in server.requests() if row["transaction_id"] == "rejected"]
    server.run("request", "reject", str(waiting["id"]))
    until(lambda: desk.told("scep.failed", "rejected"), 15)
    assert desk.told("scep.failed", "rejected")[0].message["certificate"] is None


def test_webhook_binds_the_names(server: ScepServer, url: str, desk: Desk):
    """VU#971035: a right challenge, and one more name than was judged."""
    desk.decisions["bound"] = lambda received: saying(
        received, names={"subject": received.message["csr"]["subject"], "sans": []}
    )
    device, body = enrol(server, "bound")
    csr = certification_request(device.key, device.subject, challenge=CHALLENGE, extensions=[dns_san("ceo.example")])
    wider = pkcs_req(device, server.ra, CHALLENGE, csr=csr, transaction_id="bound-wider")
    assert send(url, wider).short == BAD_REQUEST
    assert certificates(server, "bound") == []
    assert "challenge_names" in audited(server)
    assert send(url, body).short == SUCCESS


def test_webhook_wrong_challenges_are_guesses(server: ScepServer, desk: Desk):
    """N18: the sixth wrong one within a minute is 429; a right one is accepted all the while."""
    url = added(server, "guessed", url=desk.receiver.url)
    for number in range(8):
        desk.decisions[f"guess-{number}"] = lambda received: saying(received, "deny", wrong_challenge=True)
    outcomes = [send(url, enrol(server, f"guess-{number}")[1]).short for number in range(8)]
    assert outcomes == [BAD_REQUEST] * 5 + ["HTTP 429"] * 3
    assert send(url, enrol(server, "knows-it")[1]).short == SUCCESS


def test_webhook_is_asked_about_renewals(server: ScepServer, desk: Desk):
    """The old certificate proves who comes; whether it may still come, the receiver knows."""
    url = added(server, "renewing", ["renewal=on", "lifetime_days=30"], url=desk.receiver.url)
    device, body = enrol(server, "renews")
    old = Device(device.key, device.subject, send(url, body).certrep.certificates(device)[0])

    def renew(key: int) -> str:
        csr = certification_request(rsa_key(key), old.subject)
        return send(url, message(old, seal(csr, server.ra), attributes_of("17"))).short

    desk.decisions["renews"] = lambda received: saying(received, "deny", reason="sold")
    assert renew(1) == BAD_REQUEST
    del desk.decisions["renews"]
    assert renew(1) == SUCCESS
    asked = [question.message for question in desk.asked("renews")]
    assert [question["message_type"] for question in asked] == ["PKCSReq", "RenewalReq", "RenewalReq"]
    assert [question["renewal"] for question in asked] == [False, True, True]
    assert [question["challenge"] for question in asked] == [CHALLENGE, None, None]


# --- troubles


def test_webhook_too_slow_is_503_and_the_repeat_succeeds(server: ScepServer, url: str, desk: Desk):
    desk.decisions["patient"] = desk.receiver.slow
    _, body = enrol(server, "patient")
    begun = time.monotonic()
    answer = wire.post(url, body)
    assert (answer.status, "retry-after" in answer.headers) == (503, True)
    assert 1.5 < time.monotonic() - begun < 6
    del desk.decisions["patient"]
    assert send(url, body).short == SUCCESS
    assert certificates(server, "patient") == ["issued"]


@pytest.mark.parametrize("status", [307, 403, 404, 500])
def test_webhook_no_status_refuses_a_device(server: ScepServer, url: str, desk: Desk, status: int):
    desk.decisions[f"status-{status}"] = lambda received: Reply(status, saying(received, "deny").body)
    _, body = enrol(server, f"status-{status}")
    assert wire.post(url, body).status == 503
    del desk.decisions[f"status-{status}"]
    assert send(url, body).short == SUCCESS


def test_webhook_down_is_503_and_the_same_request_succeeds(server: ScepServer, ca: PrivateCa):
    receiver = ScriptedReceiver(ca).start()
    url = added(server, "down", url=receiver.url, notify="off", retries="0")
    receiver.stop()
    _, body = enrol(server, "down")
    assert [wire.post(url, body).status for _ in range(2)] == [503, 503]
    receiver.start()
    assert send(url, body).short == SUCCESS
    assert certificates(server, "down") == ["issued"]
    receiver.stop()


def test_webhook_notices_survive_both_sides(server: ScepServer, desk: Desk, ca: PrivateCa):
    """The receiver of notices is down, the server is killed; both come back, and it is told, once."""
    teller = ScriptedReceiver(ca).start()
    teller.behave = lambda _: Reply(204)
    teller.stop()
    url = added(server, "told-late", url=desk.receiver.url, notify_url=teller.url)
    before = metric(server, "not_told")
    _, body = enrol(server, "told-late")
    assert send(url, body).short == SUCCESS
    until(lambda: metric(server, "not_told") > before, 15)
    server.kill()
    teller.start()
    server.start()
    until(lambda: teller.received, 90)  # the dead process may have held the outbox, which is free after half a minute
    assert teller.received[0].message["transaction_id"] == "told-late"
    assert len({received.id for received in teller.received}) == 1
    assert teller.received[0].message["earlier_tries"] >= 1
    assert certificates(server, "told-late") == ["issued"]
    teller.stop()


def test_webhook_check_by_command(server: ScepServer, desk: Desk, url: str):
    def pong(received: Received) -> Reply:
        return saying(received, "pong")

    desk.receiver.behave = pong
    try:
        done = server.run("integration", "test", "desk", check=False)
    finally:
        desk.receiver.behave = desk
    assert done.returncode != 0
    assert "verify signatures" in done.stdout + done.stderr


def test_webhook_secrets_are_in_no_log(server: ScepServer, url: str):
    """Last: after everything above."""
    secret = json.loads(server.run("integration", "show", "desk", "--reveal", "--json").stdout)["signing_secret"]
    everything = server.stderr() + audited(server)
    assert CHALLENGE not in everything
    assert secret not in everything
