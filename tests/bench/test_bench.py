"""`make bench` as a test run: prints its figures, fails on errors, duplicate serials or a padding oracle."""

from __future__ import annotations

import random
import sys

import pytest

from tests.bench import __main__ as bench
from tests.bench.oracle import mann_whitney


@pytest.mark.bench
def test_bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench"])
    with capsys.disabled():
        assert bench.main() == 0


def test_bench_statistics_see_a_difference_and_only_a_difference() -> None:
    rng = random.Random(24)
    same = [[rng.gauss(1.0, 0.1) for _ in range(1000)] for _ in range(2)]
    slower = [value + 0.03 for value in same[0]]
    assert mann_whitney(*same) > 0.001
    assert mann_whitney(same[1], slower) < 0.001
    assert mann_whitney([1.0] * 50, [1.0] * 49 + [2.0]) > 0.001
