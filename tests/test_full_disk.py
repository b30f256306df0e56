"""Failures under a run, a full disk or a signal: the work that was finished is kept."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from lvkam_pyro.cli import FAILED, INTERRUPTED, OK, TERMINATED, WRONG_INPUT, main
from lvkam_pyro.training.runs.checkpoint import load_checkpoint
from tests.test_bad_input import FEW, TINY, X, fit, fitted, own_folder

__all__ = ["fitted", "own_folder"]

ROOT = Path(__file__).parent.parent


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that has no more."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_space() -> Iterator[None]:
    """A file of which nothing can be flushed to the disk: it is full."""
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with mock.patch("lvkam_pyro.training.runs.files.os.fsync", side_effect=error):
        yield


def test_full_disk_in_the_library_keeps_the_run(tmp_path: Path) -> None:
    with full_disk(4000), pytest.raises(OSError, match=r"cannot write \(File too large\)"):
        fit(X, "run")
    assert {path.name for path in Path("run").iterdir()} == {"settings.json"}
    resumed, unbroken = fit(X, "run", resume=True), fit(X)
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)


def test_full_disk_under_a_command_ends_it_and_resume_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["fit", "two_moons", "--set", *TINY]
    with full_disk(4000):
        assert main(command) == FAILED
    said = capsys.readouterr().err
    assert "checkpoint.pt: cannot write (File too large); what the file held" in said
    assert said.count("\n") == 1
    assert main(["resume", "two_moons"]) == OK
    assert len(load_checkpoint("runs/two_moons/checkpoint.pt")["metrics"]) == 2


RESULTS = {
    "evidence": "evidence.csv",
    "compare": "evidence.csv",
    "sample": "samples.npy",
    "diagnose": "posterior.nc",
}


@pytest.mark.parametrize(
    "command",
    [pytest.param(each, marks=pytest.mark.slow if each == "diagnose" else ()) for each in RESULTS],
)
def test_full_disk_keeps_the_results_that_were_there(
    command: str, fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = RESULTS[command]
    shutil.copytree(fitted, "runs/two_moons")
    again = [command, "two_moons", "--num-samples" if command == "sample" else "--num-data", "3"]
    again += ["--inference", "amortized", "--set", *FEW] if command == "compare" else []
    assert main(again) == OK
    before = contents(Path("runs"))
    capsys.readouterr()
    # HDF5 crashes the process where it cannot write: it does so on another disk.
    with no_space() if command == "diagnose" else full_disk(10):
        assert main([*again, "--seed", "1"]) == FAILED
    said = capsys.readouterr().err
    assert re.match(rf"lvkam: error: .*{name}: cannot write \((File too|No space)", said), said
    assert contents(Path("runs")) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_overwriting_by_a_fit_that_is_refused_keeps_the_old_run() -> None:
    assert main(["fit", "two_moons", "--set", *TINY]) == OK
    before = {path: path.read_bytes() for path in Path("runs").rglob("*.*") if path.is_file()}
    np.save("x.npy", X * np.float32([1, 0]))
    assert main(["fit", "two_moons", "--data", "x.npy", "--overwrite"]) == WRONG_INPUT
    assert {path: path.read_bytes() for path in before} == before


STOPS = {
    signal.SIGINT: (INTERRUPTED, "interrupted"),
    signal.SIGTERM: (TERMINATED, "terminated"),
}


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_stopped_process_keeps_whole_epochs(number: signal.Signals) -> None:
    long = ["--set", "num_epochs=1000000", "hidden=[4]"]
    command = [sys.executable, "-m", "lvkam_pyro.cli", "fit", "two_moons", *long]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A suite in the background ignores SIGINT, and its children inherit that, but no handler.
    before = signal.signal(number, signal.default_int_handler)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    signal.signal(number, before)
    checkpoint, deadline = Path("runs/two_moons/checkpoint.pt"), time.monotonic() + 100
    try:
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=100)
    finally:
        process.kill()
    code, word = STOPS[number]
    assert process.returncode == code, said
    assert said.startswith(f"lvkam: {word}. Whole epochs are kept; go on by: lvkam fit")
    assert said.count("\n") == 1
    epochs = len(load_checkpoint(checkpoint)["metrics"])
    assert len(Path("runs/two_moons/metrics.csv").read_text().splitlines()) == 1 + epochs
