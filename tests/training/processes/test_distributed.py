"""Training in several processes: as in one, bit-equal among each other, and never left hanging."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.processes.replicas import digest

ROOT = Path(__file__).parent.parent.parent
Report = dict[str, Any]

slow = pytest.mark.slow
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def report_of(kind: str, folder: Path) -> Report:
    """All trainings of tests/training/processes/replicas.py, run once for all tests."""
    command = [sys.executable, "-m", "tests.training.processes.replicas", kind, str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr
    report: Report = torch.load(folder / "report.pt")
    return report


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of("quick", tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def thorough(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of("thorough", tmp_path_factory.mktemp("thorough"))


def assert_equal_up_to_rounding(first: Report, second: Report) -> None:
    """In float64: sums of up to 1e5 terms in another order, over at most 30 updates by Adam."""
    tolerance = 1e5 * torch.finfo(torch.float64).eps
    assert first["weights"].keys() == second["weights"].keys()
    for name, weight in first["weights"].items():
        torch.testing.assert_close(weight, second["weights"][name], rtol=tolerance, atol=tolerance)
    for one, other in zip(first["metrics"], second["metrics"], strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance)


def assert_replicas_equal_one_process(report: Report, num_processes: int) -> None:
    replicas = report[f"in {num_processes}"]
    assert len(replicas) == num_processes
    for name, first in replicas[0].items():
        for other in replicas[1:]:
            assert digest(first) == digest(other[name]), f"the replicas of {name} differ"
        assert_equal_up_to_rounding(first, report["in 1"][name])


def test_training_is_that_of_one_process_and_replicas_are_bit_equal(quick: Report) -> None:
    assert_replicas_equal_one_process(quick, 2)
    # What is compared has moved its grids, and was not trivially the same.
    assert any(row["grid_error"] > 0 for row in quick["in 1"]["everything"]["metrics"])


def test_what_was_compared_was_computed_in_shares(quick: Report) -> None:
    """The sums over processes have other roundings: the runs were not one process's."""
    first = quick["in 2"][0]["everything"]
    assert digest(first) != digest(quick["in 1"]["everything"])


def test_lost_process_ends_the_others_with_a_checkpoint(quick: Report) -> None:
    first, second = quick["killed"]["ends"]
    assert second is None, "the second process was to be killed"
    name, text = first
    assert name == "LostProcessError"
    assert "Another process of this training has ended" in text
    assert quick["killed"]["rows"] == 3


def test_killed_training_goes_on_in_one_process(quick: Report) -> None:
    assert_equal_up_to_rounding(quick["resumed"]["killed in 1"], quick["uninterrupted"])


def test_processes_that_fall_out_of_step_are_noticed(quick: Report) -> None:
    for name, text in quick["random_by_itself"]:
        assert name == "ValueError"
        assert "The processes differ in random numbers" in text


@slow
@pytest.mark.parametrize("num_processes", [2, 3])
def test_any_number_of_processes_is_one(thorough: Report, num_processes: int) -> None:
    assert_replicas_equal_one_process(thorough, num_processes)


@slow
def test_interrupt_of_one_process_ends_all(thorough: Report) -> None:
    assert thorough["interrupted"] == {"ends": [("KeyboardInterrupt", "")] * 2, "rows": 3}


@slow
@pytest.mark.parametrize("name", ["killed in 2", "interrupted in 2"])
def test_stopped_training_goes_on_in_two_processes(thorough: Report, name: str) -> None:
    assert_equal_up_to_rounding(thorough["resumed"][name], thorough["uninterrupted"])


@slow
def test_divergence_in_one_share_ends_all_with_the_same_message(thorough: Report) -> None:
    first, second = thorough["diverging"]
    assert first == second
    assert first[0] == "DivergenceError"
    assert "model site 'x'" in first[1]


@slow
def test_other_data_in_each_process_are_refused(thorough: Report) -> None:
    for name, text in thorough["data_of"]:
        assert name == "ValueError"
        assert "The processes differ in num_data: it is 40 in process 0 and 39" in text


@slow
def test_processes_start_with_the_parameters_of_the_first(thorough: Report) -> None:
    first, second = thorough["start_of"]
    assert first == second


@slow
def test_chains_that_go_on_are_refused(thorough: Report) -> None:
    for name, text in thorough["chains"]:
        assert name == "ValueError"
        assert "NUTSGuide goes on with its chains" in text
