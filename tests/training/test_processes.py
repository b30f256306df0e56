"""Training in several processes: of one distribution with one, bit-equal replicas, none hanging."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lvkam_pyro.training.processes import Processes
from tests.assertions import assert_within_standard_errors
from tests.training.replicas import NUM_SEEDS, X, digest

ROOT = Path(__file__).parent.parent.parent
Report = dict[str, Any]

slow = pytest.mark.slow


def report_of(kind: str, folder: Path) -> Report:
    """All trainings of tests/training/replicas.py, run once for all tests."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    command = [sys.executable, "-m", "tests.training.replicas", kind, str(folder)]
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


def assert_replicas_are_equal(report: Report, num_processes: int) -> None:
    replicas = report[f"in {num_processes}"]
    assert len(replicas) == num_processes
    for name, first in replicas[0].items():
        for other in replicas[1:]:
            assert digest(first) == digest(other[name]), f"the replicas of {name} differ"
    noiseless = replicas[0]["without_noise"]
    assert_equal_up_to_rounding(noiseless, report["in 1"]["without_noise"])
    # The sums over processes have other roundings: the run was not one process's.
    assert digest(noiseless) != digest(report["in 1"]["without_noise"])


def exact_answers() -> Tensor:
    """The location of most likelihood, and minus the bound there of the guide `Wide`."""
    loc = X.mean(0)
    evidence = torch.distributions.Normal(loc, 2**0.5).log_prob(X)
    gap = (1 - math.log(2) + (X - loc).square() / 2) / 2
    return torch.cat([loc, (gap - evidence).sum(-1).mean(0, keepdim=True)])


@given(num_data=st.integers(1, 40), num_processes=st.integers(1, 9))
def test_shares_cover_a_batch_once(num_data: int, num_processes: int) -> None:
    batch = torch.arange(num_data)
    ranks = [Processes(rank, num_processes) for rank in range(num_processes)]
    shares = [each.share(batch) for each in ranks]
    assert torch.cat([rows for rows, weight in shares if weight]).tolist() == batch.tolist()
    assert sum(weight for _, weight in shares) == pytest.approx(1.0)
    assert all(weight in (0, len(rows) / num_data) for rows, weight in shares)
    sizes = [len(rows) for rows, weight in shares if weight]
    assert max(sizes) - min(sizes) <= 1


def test_replicas_are_bit_equal_and_one_process_where_nothing_is_random(quick: Report) -> None:
    assert_replicas_are_equal(quick, 2)
    # What is compared has moved its grids.
    assert any(row["grid_error"] > 0 for row in quick["in 2"][0]["everything"]["metrics"])


def test_fits_of_one_and_two_processes_have_one_distribution(quick: Report) -> None:
    """Over seeds: equal means of the location and the loss, and they are the exact ones."""
    one, two = quick["noisy in 1"], quick["noisy in 2"][0]
    variances = one.var(0) / NUM_SEEDS, two.var(0) / NUM_SEEDS
    assert_within_standard_errors(one.mean(0), two.mean(0), sum(variances).sqrt())
    for fits, variance in zip((one, two), variances, strict=True):
        assert_within_standard_errors(fits.mean(0), exact_answers(), variance.sqrt())
    # The log of the ratio of two sample variances.
    standard_error = torch.full((4,), 2 / (NUM_SEEDS - 1) ** 0.5, dtype=torch.float64)
    ratios = (variances[0] / variances[1]).log()
    assert_within_standard_errors(ratios, torch.zeros_like(ratios), standard_error)
    assert torch.equal(two, quick["noisy in 2"][1]), "the replicas differ"


def test_processes_draw_other_random_numbers(quick: Report) -> None:
    first, second = quick["own_draws"]
    assert len(first) == len(second) == 12
    assert not set(first) & set(second)
    assert len(set(second)) == len(second), "an epoch repeats the draws of another"


def test_lost_process_ends_the_others_with_a_checkpoint(quick: Report) -> None:
    first, second = quick["killed"]["ends"]
    assert second is None, "the second process was to be killed"
    name, text = first
    assert name == "LostProcessError"
    assert "Another process of this training has ended" in text
    assert quick["killed"]["rows"] == 3


def test_killed_training_goes_on_in_one_process(quick: Report) -> None:
    rows = quick["resumed"]["killed in 1"]["metrics"]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(row["loss_per_datum"]) for row in rows)


@slow
def test_three_replicas_are_bit_equal(thorough: Report) -> None:
    assert_replicas_are_equal(thorough, 3)


@slow
@pytest.mark.parametrize("name", ["interrupted", "terminated"])
def test_signal_of_one_process_ends_all(thorough: Report, name: str) -> None:
    assert thorough[name] == {"ends": [("KeyboardInterrupt", "")] * 2, "rows": 3}


@slow
@pytest.mark.parametrize("name", ["killed in 2", "interrupted in 2", "terminated in 2"])
def test_stopped_training_goes_on_bit_for_bit_in_as_many(thorough: Report, name: str) -> None:
    assert digest(thorough["resumed"][name]) == digest(thorough["uninterrupted"])


@slow
def test_divergence_in_one_share_ends_all(thorough: Report) -> None:
    for name, text in thorough["diverging"]:
        assert name == "DivergenceError"
        assert "model site 'x'" in text


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


@slow
def test_buffers_that_fall_out_of_step_are_noticed(thorough: Report) -> None:
    for name, text in thorough["counting"]:
        assert name == "ValueError"
        assert "The processes differ in parameters" in text


@contextmanager
def signal_raises(number: int, error: type[Exception]) -> Iterator[None]:
    def handle(number: int, frame: object) -> None:
        raise error

    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_signal_waits_and_then_ends_a_training_as_its_handler_does() -> None:
    reached = []
    with (
        pytest.raises(InterruptedError),
        signal_raises(signal.SIGTERM, InterruptedError),
        Processes(0, 2).deferring_signals(),
    ):
        signal.raise_signal(signal.SIGTERM)
        reached.append("the next update")
    assert reached
