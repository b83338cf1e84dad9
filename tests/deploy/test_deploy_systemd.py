"""The systemd unit, judged by systemd's own tools, and its configuration by ours."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scep_server import config

SYSTEMD = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
INSTALLED = "/opt/scep-server/bin/scep-server"
MOST_EXPOSED = 1.5
"""Of 10. What is left is the network, which a server needs."""

RequireProgram = Callable[[str, str], Path]


@pytest.fixture
def analyze(require_program: RequireProgram) -> Callable[..., subprocess.CompletedProcess[str]]:
    """systemd-analyze, its answer as text."""
    program = require_program("systemd-analyze", "systemd")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)

    return run


def unit_for_this_machine(folder: Path, *, replace: tuple[str, str] = ("", "")) -> Path:
    """The shipped unit with the path of a program that exists here."""
    text = (SYSTEMD / "scep-server.service").read_text()
    assert INSTALLED in text
    unit = folder / "scep-server.service"
    program = str(Path(sys.executable).with_name("scep-server"))
    unit.write_text(text.replace(INSTALLED, program).replace(*replace))
    return unit


def test_verify_has_nothing_to_say(tmp_path: Path, analyze: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    verdict = analyze("verify", "--man=no", str(unit_for_this_machine(tmp_path)))
    assert (verdict.returncode, verdict.stdout + verdict.stderr) == (0, "")


def test_verify_sees_a_misspelt_setting(
    tmp_path: Path, analyze: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    unit = unit_for_this_machine(tmp_path, replace=("ProtectSystem=", "ProtectSytem="))
    verdict = analyze("verify", "--man=no", str(unit))
    assert "ProtectSytem" in verdict.stderr


def test_little_is_exposed(tmp_path: Path, analyze: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    unit = unit_for_this_machine(tmp_path)
    verdict = analyze("security", "--offline=true", "--no-pager", str(unit))
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", verdict.stdout)
    assert level, verdict.stdout + verdict.stderr
    assert float(level[1]) <= MOST_EXPOSED


def test_the_user_of_the_unit_is_made(require_program: RequireProgram, tmp_path: Path) -> None:
    sysusers = require_program("systemd-sysusers", "systemd")
    shipped = SYSTEMD / "scep-server.sysusers.conf"
    (tmp_path / "etc").mkdir()
    subprocess.run([sysusers, f"--root={tmp_path}", str(shipped)], check=True, capture_output=True, timeout=60)
    made = [line.split(":")[0] for line in (tmp_path / "etc" / "passwd").read_text().splitlines()]
    assert made == re.findall(r"^User=(.+)$", (SYSTEMD / "scep-server.service").read_text(), re.MULTILINE)


def test_the_configuration_fits_the_unit() -> None:
    settings = config.load(SYSTEMD / "scep-server.toml")
    unit = (SYSTEMD / "scep-server.service").read_text()
    (credential,) = re.findall(r"^LoadCredential=([\w-]+):", unit, re.MULTILINE)
    (state,) = re.findall(r"^StateDirectory=(.+)$", unit, re.MULTILINE)
    assert settings.ca.passphrase_source == ("credential", credential)
    written = [settings.ca.directory, settings.secrets.key_file, settings.audit.key_file, settings.audit.heads]
    written.append(Path(settings.ledger.url.removeprefix("sqlite:///")))
    assert [path for path in written if not path.is_relative_to(Path("/var/lib") / state)] == []
