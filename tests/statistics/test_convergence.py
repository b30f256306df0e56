"""R-hat and effective sample size of many chains at once, against ArviZ chain by chain."""

import pytest
import torch
from arviz_stats.base import array_stats
from scipy.stats import kstest
from scipy.stats import t as student_t
from torch import Tensor

from lvkam_pyro.statistics.convergence import (
    autocovariance,
    chain_effective_sample_size,
    chain_rhat,
    half_drift,
)
from tests.assertions import assert_p_value


def autoregressive(correlation: float, shape: tuple[int, ...], shift: float = 0.0) -> Tensor:
    """Stationary chains `(draws, chains, ...)`, the first of which is shifted."""
    noise = torch.randn(shape, dtype=torch.float64)
    draws = [noise[0]]
    for step in noise[1:]:
        draws.append(correlation * draws[-1] + (1 - correlation**2) ** 0.5 * step)
    chains = torch.stack(draws)
    chains[:, 0] += shift
    return chains


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.7, 0.95])
def test_both_agree_with_arviz(correlation: float) -> None:
    chains = autoregressive(correlation, (100, 4, 3), shift=0.5)
    for index, column in enumerate(chains.permute(2, 1, 0).numpy()):
        rhat = array_stats.rhat(column, chain_axis=0, draw_axis=1, method="identity")
        assert float(chain_rhat(chains)[index]) == pytest.approx(float(rhat), rel=1e-6)
        ess = array_stats.ess(column, chain_axis=0, draw_axis=1, method="identity")
        # Geyer's sequence is cut at a pair here and at a half pair there.
        size = float(chain_effective_sample_size(chains)[index])
        assert size == pytest.approx(float(ess), rel=0.2)


def test_the_effective_size_is_that_of_an_autoregression() -> None:
    chains = autoregressive(0.8, (500, 32, 20))
    expected = 500 * 32 * (1 - 0.8) / (1 + 0.8)
    assert chain_effective_sample_size(chains).mean() == pytest.approx(expected, rel=0.05)


def test_autocovariance_by_its_definition() -> None:
    draws = torch.randn(30, 2, dtype=torch.float64)
    centred = draws - draws.mean(0)
    for lag in (0, 1, 7, 29):
        direct = (centred[lag:] * centred[: 30 - lag]).sum(0) / 30
        torch.testing.assert_close(autocovariance(draws)[lag], direct)


def test_chains_that_never_move_or_never_meet() -> None:
    constant = torch.ones(10, 4, 2)
    assert torch.equal(chain_rhat(constant), torch.ones(2))
    assert torch.equal(chain_effective_sample_size(constant), torch.full((2,), 40.0))
    stuck = torch.arange(4.0)[None, :, None].expand(10, 4, 2)
    assert torch.equal(chain_rhat(stuck), torch.full((2,), torch.inf))
    assert (chain_effective_sample_size(stuck) < 10).all()


def test_infinite_draws_are_not_converged() -> None:
    chains = torch.randn(10, 4, 1)
    chains[3, 2] = -torch.inf
    assert chain_rhat(chains) == torch.inf
    assert half_drift(chains) == torch.inf
    assert chain_effective_sample_size(chains) == 0


def test_drift_is_students_t_for_stationary_chains() -> None:
    drift = half_drift(torch.randn(20, 32, 5000, dtype=torch.float64))
    assert_p_value(kstest(2 * student_t.sf(drift.numpy(), 31), "uniform").pvalue)


def test_drift_sees_what_rhat_does_not() -> None:
    chains = torch.randn(100, 32, 1) + torch.linspace(-1, 1, 100)[:, None, None]
    assert chain_rhat(chains) < 1.05
    assert half_drift(chains) > 10
    assert half_drift(torch.ones(10, 4, 1)) == 0
