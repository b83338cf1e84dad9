"""Runs deploy/Containerfile without a container engine: each FROM is a clean Debian root made by debootstrap, each RUN
a chroot, and the finished root must start, answer its own HEALTHCHECK, and end on SIGTERM.

    python tests/deploy/containerfile_steps.py [--base DIR] [--keep]

Needs root and debootstrap. What it does not show: images of a registry, layers, volumes, the engine's isolation.
--base DIR is a root that debootstrap made before; --keep leaves the finished roots for a look.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONTAINERFILE = REPOSITORY / "deploy" / "Containerfile"
SUITES = {"debian:12-slim": "bookworm"}
LISTEN = "127.0.0.1:18080"
START_SECONDS = 60
# How this machine reaches its package sources; an engine's build has its own ways.
MACHINE_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
MACHINE_VARIABLES = re.compile(r"PIP_.*|.*_proxy|SSL_CERT_(FILE|DIR)", re.IGNORECASE)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(instruction, argument) of each step; comments are dropped and continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, argument = line.strip().partition(" ")
            yield name.upper(), argument.strip()


@dataclass
class Stage:
    """One FROM: a root folder, and the settings that later steps and the finished image have."""

    root: Path
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    workdir: str = "/"
    user: str = "0:0"
    processes: dict[str, list[str]] = field(default_factory=dict)
    """Argument lists of ENTRYPOINT, CMD and HEALTHCHECK."""

    def argv(self, command: list[str], *, machine: bool = False) -> list[str]:
        """The command line that runs command inside, as the stage's user; machine adds this machine's pip settings."""
        own = {name: value for name, value in os.environ.items() if machine and MACHINE_VARIABLES.fullmatch(name)}
        settings = [f"{name}={value}" for name, value in (own | self.variables).items()]
        inside = f"cd {shlex.quote(self.workdir)} && exec {shlex.join(command)}"
        return ["chroot", f"--userspec={self.user}", str(self.root), "env", "-i", *settings, "/bin/sh", "-c", inside]

    def path(self, name: str) -> Path:
        """A path of the image, on this machine."""
        return self.root / (Path(self.workdir) / name).relative_to("/")


def copy(stage: Stage, source: Path, names: list[str], target: str) -> None:
    """COPY: files into a folder, or a folder's content to a path."""
    place = stage.path(target)
    for name in names:
        origin = source / name.lstrip("/")
        if origin.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin, place, symlinks=True, dirs_exist_ok=True, ignore=ignore)
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, place)


def connect(root: Path) -> None:
    """Gives a root this machine's way to its package sources; before each RUN, since packages replace such files."""
    for file in MACHINE_FILES:
        if Path(file).is_file():
            inside = root / file.lstrip("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, inside)


def apply(name: str, argument: str, stage: Stage, stages: dict[str, Stage]) -> None:
    """One step. An instruction that is not known here is an error, so that no step is skipped unseen."""
    match name:
        case "RUN":
            print(f"   RUN {argument[:100]}", flush=True)
            connect(stage.root)
            subprocess.run(stage.argv(["/bin/sh", "-e", "-c", argument], machine=True), check=True)
        case "COPY":
            *names, target = argument.split()
            source = REPOSITORY
            if names[0].startswith("--from="):
                source = stages[names.pop(0).removeprefix("--from=")].root
            copy(stage, source, names, target)
        case "ENV":
            variable, _, value = argument.partition("=")
            stage.variables[variable] = value
        case "WORKDIR":
            stage.workdir = argument
            stage.path(".").mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = argument
        case "ENTRYPOINT" | "CMD" | "HEALTHCHECK":
            stage.processes[name] = json.loads(argument[argument.index("[") :])
        case "VOLUME" | "EXPOSE":
            pass
        case _:
            raise SystemExit(f"{CONTAINERFILE.name}: {name} is not known to {Path(__file__).name}")


def build(base: Path, scratch: Path) -> Stage:
    """All stages; the last one is the image."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for name, argument in instructions(CONTAINERFILE.read_text()):
        if name == "FROM":
            image, _, alias = argument.partition(" AS ")
            if image not in SUITES:
                raise SystemExit(f"{image}: no debootstrap suite is known for this image")
            root = scratch / (alias or "image")
            print(f"== FROM {argument}", flush=True)
            subprocess.run(["cp", "--archive", "--one-file-system", str(base), str(root)], check=True)
            stage = stages[alias or "image"] = Stage(root)
        elif stage is None:
            raise SystemExit(f"{name} before the first FROM")
        else:
            apply(name, argument, stage, stages)
    return stages["image"]


@contextmanager
def running(image: Stage) -> Iterator[subprocess.Popen[str]]:
    """The image's own process, on loopback; asked to end, and killed only when it does not."""
    options = ["--json", "--listen", LISTEN, "--public-url", f"http://{LISTEN}"]
    process = subprocess.Popen(
        image.argv([*image.processes["ENTRYPOINT"], *image.processes["CMD"], *options]),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def healthy(image: Stage) -> bool:
    """What an engine would find out by HEALTHCHECK."""
    check = image.argv(image.processes["HEALTHCHECK"])
    return subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode == 0


def try_out(image: Stage) -> None:
    """Start it, look at what runs, ask its health check, stop it."""
    with running(image) as process:
        assert process.stdout is not None
        record = json.loads(process.stdout.readline() or "{}")
        if not record.get("scep_url", "").startswith(f"http://{LISTEN}/scep/"):
            raise SystemExit(f"the image's process did not say that it serves: {record.keys()}")
        user = (Path("/proc") / str(process.pid)).stat().st_uid
        if user == 0:
            raise SystemExit("the image's process runs as root")
        deadline = time.monotonic() + START_SECONDS
        while not healthy(image):
            if time.monotonic() > deadline:
                raise SystemExit("HEALTHCHECK never succeeded")
            time.sleep(0.5)
    if process.returncode != 0:
        raise SystemExit(f"after SIGTERM the exit status was {process.returncode}")
    if healthy(image):
        raise SystemExit("HEALTHCHECK succeeds although nothing runs: it checks nothing")
    print(f"== runs as uid {user}, is healthy, ends on SIGTERM")


def main() -> None:
    """Build and try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, metavar="DIR")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("needs root: it makes roots with debootstrap and enters them with chroot")
    begun = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="scep-container-"))
    try:
        base = options.base or scratch / "base"
        if not base.exists():
            print("== debootstrap", flush=True)
            (suite,) = set(SUITES.values())
            command = ["debootstrap", "--variant=minbase", suite, str(base)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        try_out(build(base, scratch))
    finally:
        if options.keep:
            print(f"== kept {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"== {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
