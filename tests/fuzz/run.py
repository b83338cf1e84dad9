"""All atheris targets in turn: `python -m tests.fuzz.run --seconds N` gives each N seconds; exit 1 on a finding."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.seeds import CORPUS

TARGETS = sorted(Path(__file__).parent.glob("fuzz_*.py"))


def main() -> int:
    """Run them; findings stay in a temporary directory that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    seconds = parser.parse_args().seconds
    findings = tempfile.mkdtemp(prefix="fuzz-findings-")
    for target in TARGETS:
        print(f"== {target.name}, {seconds} s", flush=True)
        with tempfile.TemporaryDirectory() as grown:
            options = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=5", f"-artifact_prefix={findings}/"]
            ended = subprocess.run(
                [sys.executable, "-m", f"tests.fuzz.{target.stem}", *options, grown, str(CORPUS)], check=False
            )
        if ended.returncode:
            print(f"findings are in {findings}", file=sys.stderr)
            return 1
    Path(findings).rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
