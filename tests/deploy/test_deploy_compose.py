"""compose.yaml, read by docker-compose itself (no engine is needed for that), against the configuration's names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scep_server.config import Settings
from tests.deploy import containerfile_steps

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture
def compose(require_program: Callable[[str, str], Path], tmp_path: Path) -> Callable[[str], str]:
    """docker-compose config for a public URL; raises CalledProcessError when it refuses the file."""
    program = require_program("docker-compose", "docker-compose")
    shutil.copy(DEPLOY / "compose.yaml", tmp_path)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "postgres-password").write_text("x")

    def run(public_url: str) -> str:
        environment = {"PATH": os.environ["PATH"], "SCEP_PUBLIC_URL": public_url}
        return subprocess.run(
            [program, "--file", str(tmp_path / "compose.yaml"), "config"],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    return run


def test_compose_accepts_it(compose: Callable[[str], str]) -> None:
    shown = compose("https://scep.example.org")
    assert "--public-url=https://scep.example.org" in shown
    assert "condition: service_healthy" in shown


def test_compose_asks_for_the_public_url(compose: Callable[[str], str]) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        compose("")
    assert "SCEP_PUBLIC_URL" in refused.value.stderr


def test_every_variable_is_a_setting() -> None:
    names = re.findall(r"SCEP_SERVER_([A-Z]+)__([A-Z_]+)", (DEPLOY / "compose.yaml").read_text())
    assert names
    for section, key in names:
        settings = getattr(Settings(), section.lower())
        assert hasattr(settings, key.lower()), f"{section}__{key}"


def test_the_containerfile_has_no_step_that_its_check_does_not_know() -> None:
    steps = list(containerfile_steps.instructions(containerfile_steps.CONTAINERFILE.read_text()))
    known = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD", "HEALTHCHECK", "VOLUME", "EXPOSE"}
    assert {name for name, _ in steps} <= known
    assert [json.loads(argument) for name, argument in steps if name == "ENTRYPOINT"] == [["scep-server"]]
    assert [argument.split(":")[0] for name, argument in steps if name == "USER"] == ["10001"]
