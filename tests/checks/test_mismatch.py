"""The aggregate posterior of a linear Gaussian model against its exact distribution."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import ndtr, ndtri
from scipy.stats import kstwo
from torch import Tensor

from lvkam_pyro.checks.check import Severity
from lvkam_pyro.checks.mismatch import PriorPosteriorMismatch, prior_posterior_mismatch
from lvkam_pyro.statistics.uniformity import check_uniformity
from tests.assertions import (
    TEST_FAILURE_RATE,
    assert_p_value,
    assert_within_standard_errors,
)
from tests.checks import programs
from tests.checks.programs import linear_gaussian

NUM_DRAWS = 2000
VARIANCE = programs.POSTERIOR_COVARIANCE.diagonal().double()


def compare(x: Tensor, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> PriorPosteriorMismatch:
    return prior_posterior_mismatch(
        linear_gaussian, x, posterior=programs.exact_guide, num_draws=num_draws, seed=seed
    )


def test_numbers_are_those_of_the_exact_aggregate() -> None:
    x = programs.draw_data(40) + 0.4
    found, means = compare(x), programs.posterior_mean(x).double()
    draw_error = (VARIANCE / (40 * NUM_DRAWS)).sqrt()
    # Draws of the prior: 20,000, so its deviation is known to 1/200.
    prior_error = 20_000**-0.5
    assert_within_standard_errors(found.shift.value, means.mean(0), draw_error + prior_error)
    scale = (VARIANCE + means.var(0, correction=0)).sqrt()
    assert_within_standard_errors(found.scale.value, scale, scale * (prior_error + 40**-0.5 / 50))
    assert_within_standard_errors(
        found.contraction.value,
        1 - VARIANCE,
        VARIANCE * ((2 / (40 * NUM_DRAWS)) ** 0.5 + prior_error),
    )
    assert_within_standard_errors(
        found.shift.error, means.std(0) / 40**0.5, means.std(0) / 40**0.5 * 0.02
    )


def test_distance_is_that_of_the_exact_distribution_functions() -> None:
    x = programs.draw_data(30) + 0.4
    found, means = compare(x), programs.posterior_mean(x).double()
    points = torch.from_numpy(ndtri(found.levels.numpy()))[:, None, None]
    functions = torch.from_numpy(ndtr(((points - means) / VARIANCE.sqrt()).numpy())).mean(1)
    exact = (functions - found.levels[:, None]).abs().amax(0)
    # The prior's quantiles and the draws' shares are each known to about 1/280 at most.
    assert_within_standard_errors(found.distance, exact, torch.tensor(0.5 / 20_000**0.5))
    assert bool((exact > 0.1).any())


def test_p_values_of_the_models_own_data_are_uniform() -> None:
    p_values = torch.stack(
        [
            compare(programs.draw_data(60), num_draws=50, seed=seed).p_value_each
            for seed in range(40)
        ]
    )
    for p_value in check_uniformity(p_values).p_value:
        assert_p_value(float(p_value))


@pytest.mark.parametrize(
    "change", [lambda x: x + 1.0, lambda x: 0.4 * x], ids=["elsewhere", "narrower"]
)
def test_wrong_prior_is_found(change: Callable[[Tensor], Tensor]) -> None:
    found = compare(change(programs.draw_data(150)), num_draws=200)
    # The least p-value that the bootstrap can say.
    assert found.p_value == pytest.approx(2 / 5000)
    assert found.findings[0].severity == Severity.WARNING


def with_an_idle_latent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z[..., :1].expand(*z.shape[:-1], 4), 1.0).to_event(1), obs=x)


def test_latent_without_use_is_noted() -> None:
    x = torch.randn(40, 1) + torch.randn(40, 4)
    found = prior_posterior_mismatch(with_an_idle_latent, x)
    (note,) = [one for one in found.findings if one.severity == Severity.NOTE]
    assert "1 latents (z[1])" in note.problem


def test_covariates_of_the_prior_are_followed() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x[:, 1], 1.0))
            pyro.sample("x", dist.Normal(z, 0.1), obs=x[:, 0])

    centre = 9 * torch.arange(50.0)
    x = torch.stack([centre + torch.randn(50), centre], -1)
    found = prior_posterior_mismatch(model, x, posterior=lambda data: guide(data))
    # No farther than one draw a datum would be.
    assert float(found.distance) < kstwo.isf(TEST_FAILURE_RATE, 50)


def guide(x: Tensor) -> None:
    """The posterior of the model with covariates."""
    with pyro.plate("data", len(x)):
        mean = (x[:, 1] + 100 * x[:, 0]) / 101
        pyro.sample("z", dist.Normal(mean, 101**-0.5))


def test_too_few_data_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 data, got 2"):
        compare(programs.draw_data(2))
