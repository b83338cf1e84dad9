"""A challenge plugin that we did not write: installed as a package of its own, found by its entry point, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import wire
from tests.e2e.crafted import pkcs_req
from tests.e2e.identities import Device
from tests.e2e.replies import read_reply
from tests.e2e.server import ScepServer

PACKAGE = Path(__file__).parent / "third_party_plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScepServer, str]]:
    """A server that has the package installed, and the SCEP URL of an integration that uses it."""
    scratch = tmp_path_factory.mktemp("plugin")
    source, target = scratch / "source", scratch / "installed"
    shutil.copytree(PACKAGE, source)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    subprocess.run(
        [*pip, "install", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target), str(source)],
        env={name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        check=True,
        stdin=subprocess.DEVNULL,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(target))
        with ScepServer(scratch / "data") as server:
            server.run("integration", "add", "doors", "--challenge", "badge", "--setting", "badges=1701,4711")
            url = server.url.replace("/default", "/doors")
            server.await_integration(url)
            yield server, url


def enrol(site: tuple[ScepServer, str], name: str, badge: str) -> wire.Answer:
    server, url = site
    return wire.post(url, pkcs_req(Device.named(name), server.ca_certificates(url)[0], badge))


def test_a_badge_on_the_list_is_granted_once(site: tuple[ScepServer, str]) -> None:
    device = Device.named("door-1")
    assert read_reply(enrol(site, "door-1", "1701").body).certificate(device)
    assert read_reply(enrol(site, "door-2", "1701").body).status == "FAILURE"
    issued = [entry["subject"] for entry in site[0].certificates() if entry["integration"] == "doors"]
    assert issued == ["CN=door-1,O=Example"]


def test_another_badge_is_refused(site: tuple[ScepServer, str]) -> None:
    assert read_reply(enrol(site, "door-3", "1702").body).status == "FAILURE"


def test_its_stray_exception_is_a_fault_of_ours(site: tuple[ScepServer, str]) -> None:
    answer = enrol(site, "door-4", "unreadable badge")
    assert (answer.status, "retry-after" in answer.headers) == (503, True)


def test_it_may_refuse_to_be_configured(site: tuple[ScepServer, str]) -> None:
    refused = site[0].run("integration", "add", "open", "--challenge", "badge", check=False)
    assert refused.returncode == 1
    assert "badges is empty" in refused.stderr


def test_without_the_package_there_is_no_such_challenge(site: tuple[ScepServer, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH")
        refused = site[0].run("integration", "add", "more", "--challenge", "badge", check=False)
    assert "no challenge plugin is named 'badge'; installed: dynamic" in refused.stderr
