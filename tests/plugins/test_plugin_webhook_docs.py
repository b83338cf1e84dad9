"""docs/webhook.md: its first section typed as it stands, against a server of its own; its examples, its schema."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from challenge_plugins.webhook import PLUGIN
from challenge_plugins.webhook.plugin import COUNTERS
from tests.e2e.server import ScepServer, free_port
from tests.house.tree import ROOT
from tests.house.typed import type_in
from tests.plugins.webhook_schema import DOCUMENT, SCHEMAS, faults

PAGE = (ROOT / "docs" / "webhook.md").read_text(encoding="utf-8")
FIRST = PAGE[PAGE.index("## 1. ") : PAGE.index("## 2. ")]
COMMANDS = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
WAIT = "until [ -s notices.jsonl ]; do sleep 0.1; done\n"
"""What a reader does by looking."""


def test_the_page_leads_to_a_certificate_and_a_refusal(tmp_path: Path) -> None:
    *blocks, stop = COMMANDS.findall(FIRST)
    assert stop == "kill $RECEIVER\n"
    script = "trap 'kill $RECEIVER' EXIT\n" + "".join(blocks) + WAIT
    with ScepServer(tmp_path / "scep-data", "p256") as server:
        script = script.replace("http://127.0.0.1:8080/scep/default", server.url)
        script = script.replace("http://127.0.0.1:8080/", server.url.partition("scep/")[0])
        script = script.replace("127.0.0.1:8099", f"127.0.0.1:{free_port()}")
        (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
        (tmp_path / "docs").symlink_to(ROOT / "docs")
        printed = type_in(script, tmp_path)
        certificates = [(entry["subject"], entry["state"]) for entry in server.certificates()]
    assert certificates == [("CN=laptop-1", "issued")]
    assert "refused, as it should be" in printed
    assert (tmp_path / "webhook-laptop-1" / "cert.pem").exists()
    told = [json.loads(line) for line in (tmp_path / "notices.jsonl").read_text().splitlines()]
    assert [faults(SCHEMAS["Issued"], notice) for notice in told] == [[]]
    assert (tmp_path / "signing-secret").stat().st_mode & 0o077 == 0


def test_the_examples_are_what_the_schema_says() -> None:
    question, answer, notice = (json.loads(example) for example in EXAMPLES.findall(PAGE))
    for schema, example in (("Question", question), ("Answer", answer), ("Issued", notice)):
        # Shortened values end in an ellipsis; everything else holds.
        wrong = [fault for fault in faults(SCHEMAS[schema], example) if "pattern" not in fault]
        assert wrong == []
    assert answer["request_id"] == question["id"]
    assert notice["subject"] == question["csr"]["subject"]


def test_every_setting_field_and_counter_is_explained() -> None:
    names = {one.name for one in PLUGIN.fields} | set(COUNTERS) | set(SCHEMAS["Answer"]["properties"])
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []


def closed(schema: object, name: str = "") -> Iterator[str]:
    """Names of the schemas, with what is within them, that permit no other fields."""
    if isinstance(schema, dict):
        if schema.get("additionalProperties") is False:
            yield name
        for key, inner in schema.items():
            yield from closed(inner, f"{name}.{key}" if name else key)


def test_receivers_are_told_to_take_fields_that_are_added_and_to_send_none() -> None:
    """Code made from the document would else refuse every message of a newer server; ours refuses their additions."""
    assert sorted(closed(SCHEMAS)) == ["Answer", "Names", "Pong"]
    assert "Fields may be added" in SCHEMAS["Question"]["properties"]["version"]["description"]


def test_the_document_is_whole() -> None:
    """Each reference leads somewhere, each schema is used, each type of message is there."""
    text = json.dumps(DOCUMENT)
    used = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert used == set(SCHEMAS)
    assert set(re.findall(r"#/components/parameters/(\w+)", text)) == set(DOCUMENT["components"]["parameters"])
    assert set(DOCUMENT["webhooks"]) == {"scep.request", "scep.issued", "scep.failed", "scep.ping"}
    assert DOCUMENT["openapi"].startswith("3.1.")
