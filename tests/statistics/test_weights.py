"""Diagnostics of importance weights, against their definitions."""

import pytest
import torch
from torch import Tensor

from lvkam_pyro.ladder.schedule import PowerSchedule
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.weights import (
    effective_sample_size,
    largest_weight,
    normalized_weights,
    pareto_k,
    smooth_weights,
)
from lvkam_pyro.tracing.arguments import Arguments, hash_data
from lvkam_pyro.tracing.session import seeded_rng


def test_weights_of_equal_particles() -> None:
    log_weights = torch.full((100, 3), -1e4)
    torch.testing.assert_close(normalized_weights(log_weights), torch.full((100, 3), 0.01))
    torch.testing.assert_close(effective_sample_size(log_weights), torch.full((3,), 100.0))
    torch.testing.assert_close(largest_weight(log_weights), torch.full((3,), 0.01))
    assert torch.equal(pareto_k(log_weights), torch.zeros(3))


def test_weights_that_are_all_zero() -> None:
    log_weights = torch.full((100, 2), -torch.inf)
    assert normalized_weights(log_weights).isfinite().all()
    assert torch.equal(effective_sample_size(log_weights), torch.zeros(2))
    assert torch.equal(largest_weight(log_weights), torch.ones(2))
    assert torch.equal(pareto_k(log_weights), torch.full((2,), torch.inf))


def test_one_weight_above_zero() -> None:
    log_weights = torch.full((100, 1), -torch.inf)
    log_weights[3] = 0.0
    assert effective_sample_size(log_weights) == 1
    assert largest_weight(log_weights) == 1
    assert pareto_k(log_weights) == torch.inf


def empirical_bayes_k(log_weights: Tensor) -> float:
    """Zhang and Stephens' estimate (2009), by their formulas, with the PSIS paper's weak prior."""
    weights = (log_weights - log_weights.max()).exp().sort().values
    num_tail = int(3 * len(weights) ** 0.5)
    exceedances = weights[-num_tail:] - weights[-num_tail - 1]
    size = 30 + int(num_tail**0.5)
    steps = 1 - (size / (torch.arange(1, size + 1).double() - 0.5)).sqrt()
    theta = 1 / exceedances[-1] + steps / (3 * exceedances[int(num_tail / 4 + 0.5) - 1])
    k = torch.log1p(-theta[:, None] * exceedances).mean(1)
    log_likelihood = num_tail * ((-theta / k).log() - k - 1)
    best = (log_likelihood.softmax(0) * theta).sum()
    fitted = float(torch.log1p(-best * exceedances).mean())
    return (num_tail * fitted + 10 * 0.5) / (num_tail + 10)


@pytest.mark.parametrize("shape", [0.2, 0.9])
def test_pareto_k_is_zhangs_and_stephens(shape: float) -> None:
    log_weights = shape * torch.distributions.Exponential(1.0).sample((2000, 2)).double()
    expected = torch.tensor([empirical_bayes_k(column) for column in log_weights.T])
    torch.testing.assert_close(pareto_k(log_weights), expected.double(), atol=1e-6, rtol=0)


def test_pareto_k_recovers_the_tail() -> None:
    log_weights = 0.5 * torch.distributions.Exponential(1.0).sample((100_000, 4))
    # The asymptotic standard deviation of the fit over M tail weights is (1 + k) / sqrt(M).
    error = 1.5 / (3 * 100_000**0.5) ** 0.5
    assert (pareto_k(log_weights) - 0.5).abs().max() < 5 * error


def test_a_tail_that_underflows_has_no_shape() -> None:
    steps = torch.linspace(1, 20, 200, dtype=torch.float64)
    log_weights = -steps * torch.arange(1024, dtype=torch.float64)[:, None]
    smoothed, k = smooth_weights(log_weights)
    assert (k > 0.7).all(), k
    assert not smoothed.isnan().any()
    assert torch.equal(smoothed[:, k == torch.inf], log_weights[:, k == torch.inf])


def test_few_particles_have_no_tail() -> None:
    assert torch.equal(pareto_k(torch.randn(24, 2)), torch.full((2,), torch.inf))


def test_the_schedule_rises_from_prior_to_posterior() -> None:
    temperatures = PowerSchedule()(11)
    assert (temperatures[0], temperatures[-1]) == (0, 1)
    assert (temperatures.diff() > 0).all()
    torch.testing.assert_close(temperatures[5], torch.tensor(0.5**5, dtype=torch.float64))


def test_a_seed_repeats_and_restores() -> None:
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with seeded_rng(3, torch.zeros(1)):
            draws.append(torch.rand(4))
    assert torch.equal(*draws)
    assert torch.equal(before, torch.get_rng_state())


def test_the_hash_knows_values_shape_and_precision() -> None:
    x = torch.arange(6.0)
    assert hash_data(x) == hash_data(x.clone())
    assert len({hash_data(y) for y in (x, x.reshape(2, 3), x.double(), x + 1)}) == 4


WRONG = [
    (TypeError, lambda: Arguments(([1.0],), {}).check(), "torch.Tensor of shape"),
    (ValueError, lambda: Arguments((torch.zeros(0, 2),), {}).check(), r"got shape \(0, 2\)"),
    (TypeError, lambda: check_count("num_chains", 2.0), "num_chains to be an integer"),
    (ValueError, lambda: check_count("num_chains", 1, minimum=2), "num_chains >= 2, but got 1"),
    (ValueError, lambda: PowerSchedule(exponent=0.0), "exponent > 0, but got 0.0"),
    (ValueError, lambda: PowerSchedule()(1), "num_temperatures >= 2"),
]


@pytest.mark.parametrize(("error", "call", "match"), WRONG)
def test_wrong_input(error: type[Exception], call: object, match: str) -> None:
    with pytest.raises(error, match=match):
        call()
