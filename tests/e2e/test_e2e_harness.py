"""The harness itself, proven against a server that we did not write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.micromdm import MicromdmServer
from tests.e2e.replies import read_reply


@pytest.fixture(scope="module")
def micromdm(tmp_path_factory: pytest.TempPathFactory):
    with MicromdmServer(tmp_path_factory.mktemp("micromdm") / "depot") as server:
        yield server


def test_harness_enrols_with_micromdm(micromdm: MicromdmServer):
    device = Device.named("harness")
    answer = wire.post(micromdm.url, pkcs_req(device, micromdm.ra, micromdm.challenge))
    reply = read_reply(answer.body, lenient=True)
    assert reply.status == "SUCCESS"
    assert reply.certificate(device).subject.rfc4514_string() == "CN=harness,O=Example"


def test_harness_sees_a_wrong_challenge(micromdm: MicromdmServer):
    before = micromdm.issued()
    device = Device.named("harness-wrong")
    answer = wire.post(micromdm.url, pkcs_req(device, micromdm.ra, "wrong"))
    assert read_reply(answer.body, lenient=True).status == "FAILURE"
    assert micromdm.issued() == before


def test_micromdm_start_is_fresh(micromdm: MicromdmServer, tmp_path: Path):
    with MicromdmServer(tmp_path / "other") as other:
        assert other.ra != micromdm.ra
        assert other.issued() == []
