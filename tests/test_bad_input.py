"""What people get wrong, and what fails under them: through the library and through `lvkam`."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO

import lvkam_pyro as lv
from lvkam_pyro.cli import FAILED, INTERRUPTED, OK, TERMINATED, WRONG_INPUT, main
from lvkam_pyro.training.checkpoint import CheckpointError, load_checkpoint
from lvkam_pyro.training.loop import load_fit

ROOT = Path(__file__).parent.parent
X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
TINY = ("num_epochs=2", "hidden=[4]", "batch_size=20")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def model(num_latents: int = 1, domain: tuple[float, float] = (0.0, 1.0)) -> lv.LVKAM:
    basis = lv.BSplineBasis(domain=domain, grid_size=3)
    prior = lv.MixturePrior(num_latents, num_components=1, basis=basis)
    return lv.LVKAM(prior, lv.KANGenerator(num_latents, 2, basis=basis), lv.NormalLikelihood(2))


def recipe() -> lv.Recipe:
    guide = lv.AmortizedGuide
    return lv.Recipe(
        name="tiny",
        build_guide=lambda model, x: guide(model, x, hidden=(4,)),
        objective=Trace_ELBO(),
        num_epochs=2,
        batch_size=20,
    )


def fit(x: object, folder: str | None = None, **options: object) -> lv.fit:
    torch.manual_seed(0)
    return lv.fit(model(), x, recipe(), folder=folder, progress=False, **options)


def changed(row: int, column: int, value: float) -> np.ndarray:
    x = X.copy()
    x[row, column] = value
    return x


@dataclass(frozen=True)
class Case:
    """One mistake: in a call, and in a command line."""

    call: Callable[[], object]
    error: type[Exception]
    says: str
    command: tuple[str, ...]
    told: str | None = None
    data: np.ndarray | None = None
    code: int = WRONG_INPUT


def of_data(x: np.ndarray, says: str, *options: str) -> Case:
    """The array, handed to fit() and as a file to `lvkam fit`."""
    command = ("--data", "x.npy", "--set", "num_latents=1", *TINY, *options)
    return Case(lambda: fit(x), ValueError, says, ("fit", "two_moons", *command), data=x)


def damaged_run() -> object:
    fit(X, "runs/two_moons")
    Path("runs/two_moons/checkpoint.pt").write_bytes(b"PK\3\4")
    return load_fit(model(), X, recipe(), "runs/two_moons")


OWN_DOMAIN = '''
from tests.test_bad_input import X, model, torch

def build(*, low: float = 0.0, high: float = 1.0):
    """A model on a domain of one's own.

    Args:
        low: Its lower end.
        high: Its upper end.
    """
    return model(domain=(low, high))

def load_data(*, seed: int):
    return torch.tensor(X), torch.tensor(X)
'''

CASES = {
    "NaN": of_data(changed(3, 1, np.nan), r"NaN or infinity in 1 of .* first nan at \(\d+, 1\)"),
    "infinity": of_data(changed(3, 1, -np.inf), r"NaN or infinity in 1 of .* first -inf"),
    "one dimension": of_data(X[:, 0], r"must have shape \(N, \.\.\.\).*\(40,\)"),
    "too many columns": of_data(
        np.concatenate([X, X + 1], 1), r"of data of shape \(2,\); the data are \(4,\)",
        "num_outputs=2",
    ),
    "constant column": of_data(X * np.float32([1, 0]), "constant columns, .*: 1. Drop"),
    "no rows": of_data(X[:0], r"is empty: its shape is \(0, 2\)"),
    "no columns": of_data(X[:, :0], r"is empty: its shape is \(40, 0\)"),
    "no latent": Case(
        lambda: model(0), ValueError, "at least 1 for num_latents, got 0",
        ("fit", "two_moons", "--set", "num_latents=0"),
    ),
    "domain turned round": Case(
        lambda: model(1, (1.0, 0.0)), ValueError, r"domain",
        ("fit", "own.py", "--set", "low=1", "high=0"),
    ),
    "domain without width": Case(
        lambda: model(1, (1.0, 1.0)), ValueError, r"domain",
        ("fit", "own.py", "--set", "low=1", "high=1"),
    ),
    "missing file": Case(
        lambda: load_checkpoint("nowhere/checkpoint.pt"), FileNotFoundError,
        r"no checkpoint at nowhere/checkpoint\.pt",
        ("fit", "two_moons", "--data", "nowhere.npy"), r"no data file nowhere\.npy",
    ),
    "missing run": Case(
        lambda: load_fit(model(), X, recipe(), "nowhere"), FileNotFoundError,
        r"no checkpoint at nowhere/checkpoint\.pt",
        ("resume", "nowhere"), "no run at nowhere or runs/nowhere",
    ),
    "unknown name": Case(
        lambda: lv.MixtureOfPriors, AttributeError, "no attribute 'MixtureOfPriors'",
        ("fit", "three_moons"), "no model program 'three_moons'",
    ),
    "unknown recipe": Case(
        lambda: lv.fit(model(), X, "amortized"), TypeError, r"must be a Recipe.*; got 'amortized'",
        ("fit", "two_moons", "--inference", "amortised"), "no inference program 'amortised'",
    ),
    "unknown option": Case(
        lambda: lv.Recipe(name="a", rate=1), TypeError, "'rate'",
        ("fit", "two_moons", "--set", "rate=1"), "No option is called 'rate'",
    ),
    "damaged checkpoint": Case(
        damaged_run, CheckpointError, r"checkpoint\.pt is damaged",
        ("resume", "runs/cli"), r"checkpoint\.pt is damaged", code=FAILED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_library_refuses_it_by_name(case: Case) -> None:
    with pytest.raises(case.error, match=case.says):
        case.call()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_command_refuses_it_in_one_line(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.py").write_text(OWN_DOMAIN)
    if case.data is not None:
        np.save("x.npy", case.data)
    if case.code == FAILED:
        assert main(["fit", "two_moons", "--out", "runs/cli", "--set", *TINY]) == OK
        Path("runs/cli/checkpoint.pt").write_bytes(b"PK\3\4")
    capsys.readouterr()
    assert main(list(case.command)) == case.code
    said = capsys.readouterr().err
    assert re.match(f"lvkam: error: .*{case.told or case.says}", said), said
    assert said.count("\n") == 1
    assert case.code == FAILED or not Path("runs").exists()


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
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    checkpoint, deadline = Path("runs/two_moons/checkpoint.pt"), time.monotonic() + 100
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    code, word = STOPS[number]
    assert process.returncode == code, said
    assert said.startswith(f"lvkam: {word}. Whole epochs are kept; go on by: lvkam fit")
    assert said.count("\n") == 1
    epochs = len(load_checkpoint(checkpoint)["metrics"])
    assert len(Path("runs/two_moons/metrics.csv").read_text().splitlines()) == 1 + epochs
