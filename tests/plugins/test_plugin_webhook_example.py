"""The receiver that operators copy (docs/examples/webhook_receiver.py), as a process, over HTTPS: with our plugin, and
against what it has to refuse.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from challenge_plugins.webhook import PLUGIN
from challenge_plugins.webhook.signature import sign, verifies_answer
from scep_server.codec.csr import parse_csr
from scep_server.errors import Reason, Refusal
from scep_server.types import Attempt, MessageType, NameBinding, Notice, NoticeKind, Source
from tests.e2e.identities import certification_request, ec_key, name
from tests.e2e.server import free_port
from tests.house.tree import ROOT
from tests.plugins.conftest import HouseUnderTest
from tests.plugins.webhook_receiver import PrivateCa
from tests.plugins.webhook_schema import SCHEMAS, faults

EXAMPLE = ROOT / "docs" / "examples" / "webhook_receiver.py"
SECRET, OLDER = "shared-secret-0123456789-new", "shared-secret-0123456789-old"


@dataclass(frozen=True)
class Example:
    """The running example."""

    folder: Path
    port: int
    ca: PrivateCa

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/scep"

    def post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str | None, bytes]:
        """Status, signature and body of the answer."""
        trust = ssl.create_default_context(cafile=str(self.ca.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=trust)
        try:
            connection.request("POST", "/scep", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers["X-Scep-Server-Signature"], answer.read()
        finally:
            connection.close()

    def send(self, message: dict[str, Any], secret: str = SECRET, at: float | None = None) -> tuple[int, bytes]:
        """A message under this secret, sent at this time."""
        body, timestamp = json.dumps(message).encode(), int(time.time() if at is None else at)
        signature = sign([secret.encode()], timestamp, message["id"], body)
        status, _, answer = self.post(body, headers(message["id"], signature))
        return status, answer

    def noticed(self) -> list[str]:
        """Ids of the notices it took."""
        path = self.folder / "notices.jsonl"
        return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


def headers(message_id: str, signature: str) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-Scep-Server-Id": message_id,
        "X-Scep-Server-Signature": signature,
    }


def ping() -> dict[str, Any]:
    return {"version": 1, "type": "scep.ping", "id": str(uuid.uuid4()), "timestamp": int(time.time())}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    folder = tmp_path_factory.mktemp("example")
    running = Example(folder, free_port(), PrivateCa(folder))
    (folder / "new").write_text(SECRET + "\n")
    (folder / "old").write_text(OLDER + "\n")
    (folder / "devices").write_text("laptop-1 correct-horse allow\nlaptop-2 purple-monkey pending\n\n")
    command = [sys.executable, str(EXAMPLE), "--listen", f"127.0.0.1:{running.port}"]
    command += ["--secret-file", str(folder / "new"), "--secret-file", str(folder / "old")]
    command += ["--devices", str(folder / "devices"), "--notices", str(folder / "notices.jsonl")]
    command += ["--certificate", str(running.ca.certificate), "--key", str(running.ca.key)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "listening" in process.stderr.readline()
        yield running
        process.terminate()


@pytest.fixture
def judge(make_house: Callable[..., HouseUnderTest], example: Example) -> Any:
    """Our plugin, which takes signed answers only."""
    house = make_house(ca_file=example.ca.ca_file)
    options = {"url": example.url, "signing_secret": SECRET, "require_signed_answer": "on"}
    settings, _ = PLUGIN.create("corp", options, house.keys)
    live = PLUGIN.load("corp", settings, house.host("webhook"))
    live.house = house  # type: ignore[attr-defined]
    return live


def attempt(judge: Any, common_name: str, challenge: str | None, kind: MessageType = MessageType.PKCS_REQ) -> Attempt:
    der = certification_request(ec_key(), name(("CN", common_name)), challenge=challenge)
    now = judge.house.clock()
    return Attempt("corp", "TID", kind, parse_csr(der), Source("192.0.2.1"), now)


# --- with our plugin


async def test_it_allows_what_it_knows_and_binds_the_names(judge) -> None:
    grant = await judge.redeem(attempt(judge, "laptop-1", "correct-horse"))
    assert (grant.pending, grant.binding) == (False, NameBinding("CN=laptop-1", ()))
    assert (await judge.redeem(attempt(judge, "laptop-2", "purple-monkey"))).pending


@pytest.mark.parametrize(
    ("common_name", "challenge", "reason"),
    [
        ("laptop-1", "purple-monkey", Reason.CHALLENGE),
        ("laptop-3", "correct-horse", Reason.CHALLENGE),
        ("laptop-1", None, Reason.DENIED),
    ],
)
async def test_it_denies_everything_else(judge, common_name: str, challenge: str | None, reason: Reason) -> None:
    with pytest.raises(Refusal) as refused:
        await judge.redeem(attempt(judge, common_name, challenge))
    assert refused.value.reason is reason


async def test_it_lets_devices_renew_as_long_as_it_knows_them(judge) -> None:
    def renewal(name_: str, challenge: str | None, *, verified: bool = True) -> Attempt:
        asked = attempt(judge, name_, challenge, MessageType.RENEWAL_REQ)
        return dataclasses.replace(asked, renews=verified)

    assert not (await judge.redeem(renewal("laptop-1", None))).pending
    for asked, reason in (
        (renewal("sold", None), Reason.DENIED),
        (renewal("laptop-1", "wrong"), Reason.CHALLENGE),
        (renewal("laptop-1", None, verified=False), Reason.DENIED),
    ):
        with pytest.raises(Refusal) as refused:
            await judge.redeem(asked)
        assert refused.value.reason is reason


async def test_it_takes_each_notice_once(judge, example: Example) -> None:
    notice = Notice("told-twice", NoticeKind.FAILED, "corp", judge.house.clock(), "TID", "CN=laptop-1", reason="x")
    await judge.notified(notice)
    await judge.notified(notice)
    assert example.noticed().count("told-twice") == 1


async def test_it_passes_the_check(judge) -> None:
    assert [finding.passed for finding in await judge.check()] == [True, True, True]


# --- against everybody else


def test_a_signed_ping_gets_a_signed_pong(example: Example) -> None:
    message = ping()
    body = json.dumps(message).encode()
    signature = sign([SECRET.encode()], message["timestamp"], message["id"], body)
    status, signed, answer = example.post(body, headers(message["id"], signature))
    assert status == 200
    assert faults(SCHEMAS["Pong"], json.loads(answer)) == []
    assert signed is not None
    assert verifies_answer([SECRET.encode()], signed, message["id"], answer)


def test_either_secret_does_during_a_rotation_and_no_other(example: Example) -> None:
    assert [example.send(ping(), secret)[0] for secret in (SECRET, OLDER, "another-secret")] == [200, 200, 401]


def test_one_right_signature_of_two_is_enough(example: Example) -> None:
    message = ping()
    body = json.dumps(message).encode()
    signature = sign([b"newer, unknown", OLDER.encode()], message["timestamp"], message["id"], body)
    assert example.post(body, headers(message["id"], signature))[0] == 200


@pytest.mark.parametrize(("off", "status"), [(-330, 401), (-200, 200), (200, 200), (330, 401)])
def test_the_window_of_time(example: Example, off: int, status: int) -> None:
    assert example.send(ping(), at=time.time() + off)[0] == status


def test_an_id_is_taken_once(example: Example) -> None:
    message = ping()
    assert [example.send(message)[0] for _ in range(2)] == [200, 409]


def test_nothing_unsigned_or_altered_is_read(example: Example) -> None:
    message = ping()
    body = json.dumps(message).encode()
    good = sign([SECRET.encode()], message["timestamp"], message["id"], body)
    attacks = [
        (body, {}),
        (body, headers(message["id"], "")),
        (body, headers(message["id"], good.partition(",")[0])),
        (body, headers(str(uuid.uuid4()), good)),
        (body + b" ", headers(message["id"], good)),
        (b"not JSON", headers(message["id"], good)),
        (body, headers(message["id"], good.replace("t=", "t=1"))),
    ]
    assert [example.post(sent, given)[0] for sent, given in attacks] == [401] * len(attacks)
    assert example.post(body, headers(message["id"], good))[0] == 200


def test_too_much_is_not_read(example: Example) -> None:
    assert example.post(b"", {"Content-Length": str(1 << 30)})[0] == 413


def test_a_message_of_an_unknown_type_is_not_taken(example: Example) -> None:
    status, _ = example.send(ping() | {"type": "scep.revoked"})
    assert status == 422


def test_it_does_not_serve_others_in_clear(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--listen", "0.0.0.0:0"]
    command += ["--secret-file", "s", "--devices", "d", "--notices", "n"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "certificate" in done.stderr


def test_it_needs_nothing_but_python(tmp_path: Path) -> None:
    """-S: without installed packages; -I: without ours."""
    command = [sys.executable, "-I", "-S", str(EXAMPLE), "--help"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=20, check=False).returncode == 0
