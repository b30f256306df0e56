"""Everything runs where its model and data are: on a GPU, or on what stands in for one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lvkam_pyro.cli import WRONG_INPUT, main
from lvkam_pyro.commands.setup import check_device
from tests.devices import CASES

ROOT = Path(__file__).parent.parent

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
# The stand-in is made of parts that torch has had since then.
needs_stand_in = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="needs torch 2.9",
)


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What fails on the stand-in, which mixes with the CPU as little as a GPU does."""
    found = tmp_path_factory.mktemp("devices") / "errors.json"
    command = [sys.executable, "-W", "ignore", "-m", "tests.devices", str(found)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, str] = json.loads(found.read_text(encoding="utf-8"))
    return read


@pytest.mark.slow
@needs_stand_in
@pytest.mark.parametrize("case", CASES)
def test_no_tensor_is_left_on_the_cpu(errors: dict[str, str], case: str) -> None:
    assert case not in errors, errors[case]


@needs_gpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_runs_on_a_gpu(case: str) -> None:
    CASES[case]("cuda")
    assert torch.cuda.max_memory_allocated() > 0


@needs_gpu
def test_command_line_runs_on_a_gpu(tmp_path: Path) -> None:
    run = tmp_path / "run"
    quick = ("num_epochs=1", "hidden=[8]", "num_evidence_particles=64", "num_replicates=2")
    fit = ["fit", "two_moons", "--out", run, "--set", *quick]
    commands = [fit, ["sample", run], ["evidence", run], ["diagnose", run, "--num-data", 3]]
    for command in commands:
        assert main([*map(str, command), "--device", "cuda"]) == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize(
    "command",
    [
        ["fit", "two_moons"],
        ["resume", "run"],
        ["evidence", "run"],
        ["compare", "two_moons"],
        ["sample", "run"],
        ["diagnose", "run"],
    ],
    ids=lambda command: command[0],
)
def test_absent_device_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--device", "cuda"]) == WRONG_INPUT
    said = capsys.readouterr().err
    assert "lvkam: error: Cannot compute on the device 'cuda': " in said
    assert "This machine has: cpu." in said


def test_device_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"device 'gpu': .* This machine has: cpu"):
        check_device("gpu")


def test_device_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"device 'meta': it holds no numbers\. This machine has"):
        check_device("meta")
