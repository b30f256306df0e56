"""SIGKILL, at writes and at any time: what is resumed ends bit for bit as what never stopped."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

slow = pytest.mark.slow


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("training", "kind", "at_least"),
    [
        ("toy", "writes", 4),
        pytest.param("everything", "writes", 20, marks=slow),
        pytest.param("everything", "times", 20, marks=slow),
    ],
)
def test_killed_training_is_resumed_bit_for_bit(
    tmp_path: Path, training: str, kind: str, at_least: int
) -> None:
    """Kills between, before and after the steps of a write, or after random times."""
    command = [sys.executable, "-m", "tests.training.killed", training, str(tmp_path), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = re.match(r"(\d+) kills", done.stdout)
    assert said is not None
    assert int(said[1]) >= at_least
