"""torchrun: one run of several processes, which one writes; and what ends one ends all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

from lvkam_pyro.cli import FAILED, OK, WRONG_INPUT, main
from lvkam_pyro.commands.torchrun import is_first, is_launched, joined_processes, local_device

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
if sys.platform == "linux":
    ENVIRONMENT["GLOO_SOCKET_IFNAME"] = "lo"

RECIPE = '''
"""The importance recipe, whose process of rank 1 does something at an update."""

import os
import signal
import time

import torch

import lvkam_pyro as lv

ACTIONS = {
    "nothing": lambda: None,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    # torchrun passes it on to both, and here it is waited for.
    "interrupt": lambda: [os.kill(os.getppid(), signal.SIGINT), time.sleep(5)],
    "refuse": lambda: torch.zeros(1, 2) @ torch.zeros(1, 2),
}


def build(*, num_epochs: int = 40) -> lv.Recipe:
    """Builds it."""
    calls = iter(range(10**6))

    def regularizer(model: object) -> torch.Tensor:
        if next(calls) == 8 and os.environ.get("RANK") == "1":
            ACTIONS[os.environ.get("ACTION", "nothing")]()
        return torch.zeros(())

    return lv.Recipe(
        name="ending",
        build_guide=lambda model, x: lv.PriorGuide(model),
        objective=lv.EmpiricalBayes(16),
        estimators=(lv.evidence.Importance(64),),
        num_epochs=num_epochs,
        batch_size=32,
        regularizer=regularizer,
    )
'''


def torchrun(*arguments: object, action: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`lvkam` in two processes; a run that hangs fails the test."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launcher, "-m", "lvkam_pyro.cli", *map(str, arguments)],
        cwd=folder,
        env={**ENVIRONMENT, "ACTION": action},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def metrics(folder: Path) -> np.ndarray:
    """Of all columns but the seconds, which are the fifth."""
    return np.delete(np.loadtxt(folder / "metrics.csv", delimiter=",", skiprows=1, ndmin=2), 4, 1)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "ending.py").write_text(RECIPE)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(100, 2)).astype("float32"))
    return tmp_path


def fit_of(project: Path, out: str) -> list[object]:
    given = ["two_moons", "--inference", project / "ending.py", "--data", project / "x.npy"]
    return ["fit", *given, "--out", project / out]


@pytest.mark.slow
def test_several_processes_make_one_run(project: Path) -> None:
    together = torchrun(*fit_of(project, "two"), action="nothing", folder=project)
    assert together.returncode == OK, together.stderr
    assert len(together.stdout.splitlines()) == 1, together.stdout
    assert main(list(map(str, fit_of(project, "one")))) == OK
    one, two = metrics(project / "one"), metrics(project / "two")
    assert one.shape == two.shape
    assert not np.array_equal(one, two)
    assert files(project / "two") == files(project / "one")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("kill", "Another process of this training has ended"),
        ("interrupt", "lvkam: interrupted. Whole epochs are kept"),
        ("refuse", "lvkam, process 1: error: .*mat1 and mat2"),
    ],
)
def test_what_ends_one_process_ends_all_and_the_run_goes_on(
    project: Path, action: str, said: str
) -> None:
    stopped = torchrun(*fit_of(project, "two"), action=action, folder=project)
    assert stopped.returncode != OK
    assert re.search(said, stopped.stderr), stopped.stderr
    # Three updates an epoch: the ninth is in the third.
    assert len(metrics(project / "two")) == 2
    if action == "kill":
        again = torchrun("resume", project / "two", action="nothing", folder=project)
        assert again.returncode == OK, again.stderr
        whole = torchrun(*fit_of(project, "whole"), action="nothing", folder=project)
        assert whole.returncode == OK, whole.stderr
        np.testing.assert_array_equal(metrics(project / "two"), metrics(project / "whole"))
    else:
        assert main(["resume", str(project / "two")]) == OK
        assert len(metrics(project / "two")) == 40


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables by which torchrun tells the second of two processes its place."""
    told = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "MASTER_ADDR": "host", "MASTER_PORT": 1}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.usefixtures("second_of_two")
def test_process_knows_its_place() -> None:
    assert is_launched()
    assert not is_first()
    assert local_device("cuda") == "cuda:1"
    assert local_device("cuda:0") == "cuda:0"
    assert local_device("cpu") == "cpu"


def test_process_of_its_own_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert is_first()
    assert not is_launched()


@pytest.mark.usefixtures("second_of_two")
def test_commands_of_one_process_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"lvkam evidence runs in one process.* has started 2"):
        joined_processes("evidence", "cpu").__enter__()
    assert not dist.is_initialized()
    assert main(["evidence", "no_such_run"]) == WRONG_INPUT
    assert capsys.readouterr().err == "", "the first process says what is wrong with the input"


@pytest.mark.usefixtures("second_of_two")
def test_own_failure_is_said_with_the_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: str) -> str:
        raise RuntimeError("no memory")

    monkeypatch.setattr("lvkam_pyro.cli.check_device", fail)
    assert main(["fit", "two_moons"]) == FAILED
    assert "lvkam, process 1: error: RuntimeError: no memory" in capsys.readouterr().err
