"""signingTime on the whole road: never judged unless the integration has a window (R42)."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import timedelta

import pytest

from scep_server.assembly.site import utc_now
from scep_server.types import FailInfo
from tests.e2e.crafted import SIGNING_TIME, attributes_of, message, seal
from tests.e2e.der import attribute, tlv
from tests.e2e.identities import Device, certification_request, rsa_key
from tests.enrollment.conftest import CHALLENGE, Walk
from tests.enrollment.test_transactions import switch

ODD = b"260102030405+0000"


def signed_at(walk: Walk, text: bytes) -> bytes:
    """A PKCSReq with this UTCTime as its signing time."""
    device = Device.named(f"device-{uuid.uuid4()}", rsa_key(1))
    content = seal(certification_request(device.key, device.subject, challenge=CHALLENGE), walk.ra)
    attributes = attributes_of("19", str(uuid.uuid4()))
    return message(device, content, dataclasses.replace(attributes, more=[attribute(SIGNING_TIME, tlv(0x17, text))]))


@pytest.mark.parametrize("text", [ODD, b"yesterday", b"700101000000Z"])
async def test_no_window_no_judgement(walk: Walk, text: bytes) -> None:
    assert (await walk.send(signed_at(walk, text))).status == "SUCCESS"


@pytest.mark.parametrize("text", [ODD, b"yesterday", b"700101000000Z"])
async def test_a_window_wants_a_time_that_reads(walk: Walk, text: bytes) -> None:
    switch(walk, signing_time_window=3600)
    assert (await walk.send(signed_at(walk, text))).fail_info == FailInfo.BAD_TIME
    near = (utc_now() - timedelta(minutes=50)).strftime("%y%m%d%H%M%SZ").encode()
    assert (await walk.send(signed_at(walk, near))).status == "SUCCESS"
