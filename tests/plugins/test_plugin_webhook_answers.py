"""Answers of a receiver, read strictly: one table for our reader and for the schema that receivers are written from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from challenge_plugins.webhook.answers import MAX_ANSWER, Verdict, check_pong, retry_after, verdict
from scep_server.errors import Fault, PluginFault
from scep_server.policy.bindings import canonical_subject
from scep_server.types import HttpAnswer, NameBinding
from tests.plugins.webhook_schema import SCHEMAS, faults

ID = "3f1c9d0e-6c1f-4b57-9d3e-0a4f0a6b8a11"
JSON = {"content-type": "application/json"}


def judged(body: bytes, status: int = 200, headers: dict[str, str] = JSON) -> Verdict:
    return verdict(HttpAnswer(status, body, headers=headers), ID, canonical_subject)


def said(**fields: Any) -> dict[str, Any]:
    return {"request_id": ID, "decision": "allow", **fields}


GOOD = [
    (said(), Verdict("allow")),
    (said(decision="pending"), Verdict("pending")),
    (said(reason="known"), Verdict("allow", "known")),
    (said(decision="deny", reason="stolen"), Verdict("deny", "stolen")),
    (said(decision="deny", wrong_challenge=True), Verdict("deny", "", True)),
    (said(wrong_challenge=False), Verdict("allow")),
    (said(names={"subject": "CN=a,O=b"}), Verdict("allow", binding=NameBinding("CN=a,O=b"))),
    (said(names={"subject": ""}), Verdict("allow", binding=NameBinding(""))),
    (said(names={"sans": []}), Verdict("allow", binding=NameBinding(sans=()))),
    (
        said(decision="pending", names={"sans": ["dns:a.example", "uri:deviceid://1"], "device_ids": ["C02XY"]}),
        Verdict("pending", binding=NameBinding(None, ("dns:a.example", "uri:deviceid://1"), ("C02XY",))),
    ),
]
BAD = [
    {},
    {"request_id": ID},
    {"decision": "allow"},
    said(decision="ALLOW"),
    said(decision="yes"),
    said(decision=True),
    said(decision=None),
    said(decision=["allow"]),
    said(request_id=None),
    said(reason=None),
    said(reason=1),
    said(allow=True),
    said(Decision="deny"),
    said(name={"subject": "CN=a"}),
    said(wrong_challenge="false"),
    said(wrong_challenge=1),
    said(names=None),
    said(names={}),
    said(names=[]),
    said(names={"subject": None}),
    said(names={"subject": ["CN=a"]}),
    said(names={"Subject": "CN=a"}),
    said(names={"sans": "dns:a"}),
    said(names={"sans": ["a.example"]}),
    said(names={"sans": ["dns:"]}),
    said(names={"sans": [{"type": "dns", "value": "a"}]}),
    said(names={"sans": ["dirname:CN=a"]}),
    said(names={"sans": ["dns:a"] * 129}),
    said(names={"device_ids": ["abc"]}),
    said(names={"device_ids": [1234]}),
    said(names={"subject": "CN=" + "x" * 1022}),
]
RULES_BEYOND_A_SCHEMA = [
    said(request_id="another"),
    said(request_id=""),
    said(request_id="\ud800"),
    said(wrong_challenge=True),
    said(decision="deny", names={"subject": "CN=a"}),
    said(names={"subject": "no name"}),
    said(names={"subject": "CN=a\nO=b"}),
    said(names={"device_ids": []}),
    said(names={"device_ids": ["abcd\ud800"]}),
]


@pytest.mark.parametrize(("answer", "wanted"), GOOD)
def test_answers_that_are_taken(answer: dict[str, Any], wanted: Verdict) -> None:
    assert judged(json.dumps(answer).encode()) == wanted
    assert faults(SCHEMAS["Answer"], answer) == []


@pytest.mark.parametrize("answer", BAD)
def test_answers_that_break_the_schema_are_faults(answer: dict[str, Any]) -> None:
    with pytest.raises(PluginFault):
        judged(json.dumps(answer).encode())
    assert faults(SCHEMAS["Answer"], answer) != []


@pytest.mark.parametrize("answer", RULES_BEYOND_A_SCHEMA)
def test_answers_that_contradict_themselves_or_the_question_are_faults(answer: dict[str, Any]) -> None:
    with pytest.raises(PluginFault):
        judged(json.dumps(answer).encode())


GOOD_BODY = json.dumps(said()).encode()


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"allow",
            b"null",
            b"[]",
            b'"allow"',
            b"{",
            GOOD_BODY + b"x",
            GOOD_BODY * 2,
            b"\xef\xbb\xbf" + GOOD_BODY,
        ),
        *(GOOD_BODY.decode().encode("utf-16"), GOOD_BODY.replace(b"allow", b"\xff"), b"[" * 60000),
        GOOD_BODY[:-1] + b', "decision": "deny"}',
        b'{"decision": "deny", ' + GOOD_BODY[1:],
        GOOD_BODY[:-1] + b', "names": {"sans": [], "sans": ["dns:a"]}}',
        GOOD_BODY[:-1] + b', "wrong_challenge": NaN}',
        GOOD_BODY[:-1] + b', "reason": ' + b"9" * 5000 + b"}",
        GOOD_BODY + b" " * MAX_ANSWER,
    ],
)
def test_bytes_that_are_no_answer_are_faults(body: bytes) -> None:
    with pytest.raises(PluginFault):
        judged(body)


@pytest.mark.parametrize("value", ["application/json", "Application/JSON; charset=utf-8", "application/json ;x=y"])
def test_content_types_that_are_taken(value: str) -> None:
    assert judged(GOOD_BODY, headers={"content-type": value}).decision == "allow"


@pytest.mark.parametrize("value", ["", "text/html", "text/json", "application/jsonp", "x/application/json"])
def test_content_types_that_are_faults(value: str) -> None:
    with pytest.raises(PluginFault, match="content type"):
        judged(GOOD_BODY, headers={"content-type": value})


@pytest.mark.parametrize(
    "status", [100, 201, 202, 204, 301, 302, 307, 400, 401, 403, 404, 409, 410, 422, 429, 500, 503]
)
def test_no_other_status_decides_anything(status: int) -> None:
    for decision in ("allow", "deny"):
        with pytest.raises(PluginFault, match=str(status)):
            judged(json.dumps(said(decision=decision)).encode(), status)


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [
        (429, "7", 7),
        (503, "99999", 3600),
        (503, "0", 1),
        (503, "-1", None),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", None),
        (503, "²", None),
        (503, "9" * 5000, None),
        (500, "7", None),
    ],
)
def test_how_long_a_receiver_may_ask_us_to_wait(status: int, text: str, seconds: int | None) -> None:
    answer = HttpAnswer(status, headers={"retry-after": text})
    assert retry_after(answer) == seconds
    with pytest.raises(Fault) as fault:
        verdict(answer, ID, canonical_subject)
    assert fault.value.retry_after == seconds


def test_reasons_reach_the_audit_log_bounded_and_on_one_line() -> None:
    reason = judged(json.dumps(said(decision="deny", reason="a\r\nb\x1b[31m\ud800\u202e" + "x" * 5000)).encode()).reason
    assert reason == "a??b?[31m??" + "x" * 189
    assert reason.isprintable()


def test_faults_do_not_repeat_what_was_said() -> None:
    with pytest.raises(PluginFault) as fault:
        judged(b'{"request_id": "hunter2", "decision": "hunter2"}')
    assert "hunter2" not in str(fault.value)


def test_a_pong_is_a_pong_only() -> None:
    check_pong(HttpAnswer(200, json.dumps(said(decision="pong")).encode(), headers=JSON), ID)
    assert faults(SCHEMAS["Pong"], said(decision="pong")) == []
    with pytest.raises(PluginFault, match="pong"):
        check_pong(HttpAnswer(200, GOOD_BODY, headers=JSON), ID)
    with pytest.raises(PluginFault):
        judged(json.dumps(said(decision="pong")).encode())
