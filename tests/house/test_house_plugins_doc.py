"""docs/plugins.md, followed as it stands: its files written, its package installed and tested, its commands typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scep_server.testing.suite import Suite
from tests.e2e import wire
from tests.e2e.polling import until
from tests.e2e.server import ScepServer, free_port
from tests.house.tree import ROOT
from tests.house.typed import type_in

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`(voucher/[\w./]+)`(?:, continued)?:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```(\w*)$", re.MULTILINE)
MAKES_FOLDERS, INSTALLS, TESTS = "mkdir", "pip install", "-m pytest"
"""What tells the page's blocks apart that do not run beside a server."""


def block(word: str) -> str:
    """The one block of commands that holds a word."""
    (found,) = [text for text in COMMANDS.findall(PAGE) if word in text]
    return found


def shell(commands: str, folder: Path, **environment: str) -> str:
    """What the commands printed, with the server's programs on the PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return type_in(commands, folder, 120, **{"PATH": path, **environment})


@dataclass(frozen=True)
class Followed:
    """The reader's folder, with the package installed beside the server's."""

    folder: Path
    installed: Path


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    folder = tmp_path_factory.mktemp("reader")
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    shell(block(MAKES_FOLDERS), folder)
    for name, text in FILE.findall(PAGE):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)
    installed = folder / "installed"
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    subprocess.run(
        [*pip, "--no-index", "--no-deps", "--no-build-isolation", "--target", str(installed), "./voucher"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return Followed(folder, installed)


@dataclass(frozen=True)
class Site:
    """A server with the package, and the shell of the page's section 9 over it."""

    server: ScepServer
    followed: Followed
    inventory_port: int
    printed: str

    @property
    def log(self) -> str:
        return (self.followed.folder / "inventory.log").read_text(encoding="utf-8")

    def metric(self, event: str) -> float:
        text = wire.request("GET", f"http://127.0.0.1:{self.server.admin_port}/metrics").body.decode()
        wanted = f'scep_server_plugin_events_total{{event="{event}",plugin="voucher"}} '
        return next(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


def typed(port: int, admin_port: int, inventory_port: int) -> str:
    """Section 9 as one script, with ports of its own; the inventory is stopped by the last block."""
    blocks = [text for text in COMMANDS.findall(PAGE) if not any(w in text for w in (MAKES_FOLDERS, INSTALLS, TESTS))]
    script = "".join(blocks)
    for theirs, ours in ((8080, port), (9080, admin_port), (8099, inventory_port)):
        assert f"{theirs}" in script
        script = script.replace(f"127.0.0.1:{theirs}", f"127.0.0.1:{ours}").replace(
            f"inventory.py {theirs}", f"inventory.py {ours}"
        )
    waiting = "for try in $(seq 100); do ! grep -q enrolled inventory.log || break; sleep 0.1; done\nkill $INVENTORY"
    assert script.count("kill $INVENTORY") == 1
    return script.replace("kill $INVENTORY", waiting)


@pytest.fixture(scope="module")
def site(followed: Followed) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(followed.installed))
        with ScepServer(followed.folder / "scep-data") as server:
            inventory_port = free_port()
            script = typed(server.port, server.admin_port, inventory_port)
            printed = shell(script, followed.folder, PYTHONPATH=str(followed.installed))
            yield Site(server, followed, inventory_port, printed)


def test_every_block_of_the_page_is_used() -> None:
    files, commands = FILE.findall(PAGE), COMMANDS.findall(PAGE)
    fences = [language for language in FENCE.findall(PAGE) if language]
    assert len(files) + len(commands) == len(fences) > 10


def test_everything_that_a_subclass_may_say_is_explained() -> None:
    table = PAGE[PAGE.index("| in your subclass |") : PAGE.index("An inventory to talk to")]
    says = {*Suite.__annotations__, "surroundings", "right_challenge", "wrong_challenge"}
    assert sorted(name for name in says if f"`{name}" not in table) == []


def test_its_contract_and_its_own_test_pass(followed: Followed) -> None:
    printed = shell(
        block(TESTS).replace("-m pytest", "-m pytest -q -ra -p no:cacheprovider"),
        followed.folder,
        PYTHONPATH=str(followed.installed),
    )
    assert re.search(r"\n\d\d passed, \d+ skipped", printed), printed[-2000:]
    skipped = {line.rpartition(": ")[2] for line in printed.splitlines() if line.startswith("SKIPPED")}
    assert skipped == {
        "it mints no challenges",
        "it does not tell its settings",
        "it has no check of itself",
        "it knows of no revocations",
        "it keeps no password that could be revealed",
    }


def test_the_device_of_the_page_is_enrolled_and_nobody_else(site: Site) -> None:
    issued = [entry["subject"] for entry in site.server.certificates() if entry["integration"] == "helpdesk"]
    assert issued == ["CN=C02XK1,O=Example"]
    assert "refused, as it should be" in site.printed
    assert "inventory_password" in site.printed, "its settings are among the integration types"


def test_its_counters_are_exported_and_its_job_runs(site: Site) -> None:
    assert 'scep_server_plugin_events_total{event="made",plugin="voucher"} 1.0' in site.printed
    until(lambda: site.metric("inventory_up") + site.metric("inventory_down") >= 1, 10)


def test_its_inventory_was_told(site: Site) -> None:
    assert site.log == "enrolled CN=C02XK1,O=Example\n"


def test_its_route_answers_strangers(site: Site) -> None:
    url = f"http://127.0.0.1:{site.server.port}/scep/helpdesk/voucher"
    assert wire.request("POST", url, b"C02XK1").status == 401
    assert wire.request("GET", url).status == 405


def test_no_secret_of_it_is_in_ledger_or_log(site: Site) -> None:
    folder = site.followed.folder
    secrets = [b"inventory-password", (folder / "voucher.txt").read_bytes().strip()]
    secrets.append((folder / "voucher-header").read_bytes().split()[-1])
    kept = b"".join(path.read_bytes() for path in (folder / "scep-data").rglob("*") if path.is_file())
    assert [secret for secret in secrets if secret in kept + site.server.stderr().encode()] == []


def test_a_fault_of_its_inventory_is_a_fault_of_ours(site: Site) -> None:
    token = (site.followed.folder / "voucher-header").read_text().split()[-1]
    url = f"http://127.0.0.1:{site.server.port}/scep/helpdesk/voucher"
    answer = wire.request("POST", url, b"C02XK1", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status, "retry-after" in answer.headers) == (503, True)


def test_no_server_starts_without_its_package(site: Site) -> None:
    assert site.server.run("check", check=False).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH")
        checked = site.server.run("check", check=False)
    assert checked.returncode == 1
    assert "no challenge plugin is named 'voucher'" in checked.stdout + checked.stderr
