"""The pages about MDMs: every command, option, setting and form field they name exists, every URL is served."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from scep_server import plugins
from scep_server.assembly.forms import LOST, Facts, Mdm, forms
from scep_server.assembly.options import PARSERS
from scep_server.cli.application import application
from tests.assembly.form_facts import facts
from tests.e2e.polling import until
from tests.e2e.server import PROGRAM, ScepServer
from tests.house.tree import ROOT

PAGES = {
    mdm: ROOT / "docs" / f"{name}.md" for mdm, name in (("jamf", "jamf-pro"), ("workspace-one",) * 2, ("intune",) * 2)
}
BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)(?:[ =]([^\s`]+))?")
URL = re.compile(r"https://ca\.example\.org(/[\w./-]+)")
KINDS = {"/scep/NAME/mscep_admin/": "dynamic", "/webhooks/jamf/NAME": "jamf"}
"""Paths that only an integration of this type has."""
FORMS = [
    (Mdm.JAMF, "static"),
    (Mdm.JAMF, "dynamic"),
    (Mdm.JAMF, "jamf"),
    (Mdm.WORKSPACE_ONE, "static"),
    (Mdm.WORKSPACE_ONE, "dynamic"),
    (Mdm.INTUNE, "intune"),
]
ADDRESSES = {"challenge_url": "https://ca.example.org/c", "webhook_url": "https://ca.example.org/w"}


def written(text: str) -> str:
    """A page's blocks and spans of code, one a line, continued lines joined."""
    blocks = [block.replace("\\\n", " ") for block in BLOCK.findall(text)]
    spans = [span.replace("\n", " ") for span in SPAN.findall(BLOCK.sub("", text))]
    return "\n".join([*blocks, *spans])


def commands(code: str) -> Iterator[str]:
    """What follows `scep-server` on a line, up to a redirection."""
    for line in code.splitlines():
        if match := re.match(r"\s*scep-server (.*)", line):
            yield re.split(r" [|>] ", match[1])[0]


def unknown(code: str) -> list[str]:
    """Commands and options that the program does not have; options alone may be those of any command."""
    faults = []
    everywhere = {option for command in _leaves(_root()) for option in _options(command)}
    for typed in commands(code):
        command, rest = _resolved(typed)
        faults += [f"{typed}: {rest[0]}"] if isinstance(command, typer.core.TyperGroup) and rest else []
        faults += [f"{typed}: {option}" for option, _ in OPTION.findall(typed) if option not in _options(command)]
    faults += [option for option, _ in OPTION.findall(code) if option not in everywhere]
    return faults


def unknown_values(code: str) -> list[str]:
    """Values of --challenge, --for, --setting and --option that do not exist."""
    settings = {field.name for kind in plugins.available() for field in plugins.fields(kind)}
    secrets = {field.name for kind in plugins.available() for field in plugins.fields(kind) if field.secret}
    known: dict[str, set[str]] = {
        "--challenge": set(plugins.available()),
        "--for": {str(one) for one in Mdm},
        "--setting": settings - secrets,
        "--setting-file": secrets,
        "--option": set(PARSERS),
    }
    return [
        f"{option} {value}"
        for option, value in OPTION.findall(code)
        if option in known and value and value.partition("=")[0] not in known[option]
    ]


@functools.cache
def _root() -> Any:
    return typer.main.get_command(application)


def _leaves(command: Any) -> Iterator[Any]:
    if isinstance(command, typer.core.TyperGroup):
        for one in command.commands.values():
            yield from _leaves(one)
    else:
        yield command


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def _resolved(typed: str) -> tuple[Any, list[str]]:
    """The command that is meant, and the words after it."""
    command, words = _root(), typed.split()
    while words and isinstance(command, typer.core.TyperGroup) and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    return command, words


@pytest.mark.parametrize("mdm", PAGES)
def test_every_command_and_option_exists(mdm: str) -> None:
    code = written(PAGES[mdm].read_text(encoding="utf-8"))
    assert f"--for {mdm}" in code
    assert unknown(code) == []
    assert unknown_values(code) == []


def test_what_does_not_exist_is_seen() -> None:
    code = "scep-server integration sho NAME\nscep-server cert list --for jamf\n--nothing"
    faults = ["integration sho NAME: sho", "cert list --for jamf: --for", "--nothing"]
    assert unknown(code) == faults
    code = "--challenge jam --for notes --setting client_secret=x --setting lifetime=1 --option renewl=on"
    wrong = [
        "--challenge jam",
        "--for notes",
        "--setting client_secret=x",
        "--setting lifetime=1",
        "--option renewl=on",
    ]
    assert unknown_values(code) == wrong


@pytest.mark.parametrize(("mdm", "challenge"), FORMS)
def test_every_field_of_the_form_is_explained(mdm: Mdm, challenge: str) -> None:
    page = PAGES[mdm].read_text(encoding="utf-8")
    cells = {name.strip() for row in re.findall(r"^\| (.*?) \|", page, re.MULTILINE) for name in row.split(",")}
    bold = set(re.findall(r"\*\*(?:.*> )?(\w+)\.?\*\*", page))
    named = {one.name for form in forms(mdm, facts(challenge, addresses=ADDRESSES)) for one in form.fields}
    assert sorted(named - cells - bold - {"Level"}) == []
    assert "Level" not in named or "Level: User Level" in page


@pytest.mark.parametrize(("mdm", "challenge"), FORMS)
def test_the_page_says_what_the_form_says(mdm: Mdm, challenge: str) -> None:
    """Values that are the same for everybody; the others are this integration's own."""
    page = PAGES[mdm].read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", page, re.MULTILINE)
    known = facts(challenge, addresses=ADDRESSES)
    fields = [one for form in forms(mdm, known) for one in form.fields if not _own(one.value, known)]
    assert len(fields) > 10
    for one in fields:
        told = "\n".join(cells for names, cells in rows if one.name in names.split(", "))
        wanted = (one.value, "any;") if one.value else ("none", "blank")
        in_prose = f"{one.name} {one.value}" in page or f"{one.name}: {one.value}" in page
        assert in_prose or any(text in told for text in wanted), (one.name, one.value, told)


def _own(value: str, known: Facts) -> bool:
    """Secrets, addresses, files, the name, and what is computed."""
    own = (known.integration.name, known.fingerprint.hex().upper(), LOST, *ADDRESSES.values())
    return value.startswith("/") or any(one in value for one in own)


def test_every_code_of_entra_is_one_that_the_plugin_knows() -> None:
    from challenge_plugins.intune.remedies import ENTRA

    assert set(re.findall("AADSTS[0-9]+", PAGES["intune"].read_text(encoding="utf-8"))) == set(ENTRA)


def test_every_url_is_served(tmp_path: Path) -> None:
    paths = {path for page in PAGES.values() for path in URL.findall(page.read_text(encoding="utf-8"))}
    assert paths >= KINDS.keys()
    with ScepServer(tmp_path / "data", key_type="p256") as server:
        names = {kind: _added(server, kind) for kind in {"static", *KINDS.values()}}
        for name in names.values():
            _until_served(server, name)
        answers = {}
        for path in paths:
            name = names[KINDS.get(path, "static")]
            query = "" if path in KINDS else "?operation=GetCACaps"
            answers[path] = _status(server, path.replace("NAME", name) + query)
        assert {path: answers[path] for path in paths - KINDS.keys()} == dict.fromkeys(paths - KINDS.keys(), 200)
        assert {path: answers[path] for path in KINDS} == {"/scep/NAME/mscep_admin/": 401, "/webhooks/jamf/NAME": 405}
        assert _status(server, f"/webhooks/jamf/{names['static']}") == 404


def _added(server: ScepServer, kind: str) -> str:
    command = [str(PROGRAM), "integration", "add", f"page-{kind}", "--challenge", kind, "--json", "--data"]
    done = subprocess.run([*command, str(server.data)], check=True, capture_output=True, text=True, timeout=60)
    return str(json.loads(done.stdout)["integration"])


def _until_served(server: ScepServer, name: str) -> None:
    until(lambda: _status(server, f"/scep/{name}?operation=GetCACaps") == 200, 30, f"{name} is not served")


def _status(server: ScepServer, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
