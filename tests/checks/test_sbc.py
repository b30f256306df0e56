"""Simulation-based calibration of samplers that are right, and of some that are known wrong."""

import re
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.checks.calibration import LOG_LIKELIHOOD, _rank_first, describe_shape, sbc
from lvkam_pyro.checks.check import Severity
from lvkam_pyro.checks.samplers import ImportanceSampler, Posterior, draw_posterior
from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.statistics.uniformity import check_uniformity
from lvkam_pyro.tracing.prior_guide import PriorGuide
from tests.assertions import TEST_FAILURE_RATE, assert_p_value
from tests.checks import programs
from tests.checks.programs import linear_gaussian

X = torch.zeros(7, programs.NUM_OUTPUTS)
LADDER = Ladder(num_temperatures=6, num_chains=20, num_warmup=30, num_samples=20)


def changed_guide(*, shift: float = 0.0, scale: float = 1.0) -> Callable[[Tensor], None]:
    """The exact posterior, moved by so many of its deviations, and scaled."""
    covariance = scale**2 * programs.POSTERIOR_COVARIANCE
    move = shift * programs.POSTERIOR_COVARIANCE.diagonal().sqrt()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            loc = programs.posterior_mean(x) + move
            pyro.sample("z", dist.MultivariateNormal(loc, covariance))

    return guide


@pytest.mark.parametrize(
    "posterior",
    [programs.exact_guide, ImportanceSampler(programs.wide_guide, 2000), LADDER],
    ids=["exact guide", "weighted guide", "ladder"],
)
def test_right_posterior_passes(posterior: Posterior) -> None:
    result = sbc(linear_gaussian, X, posterior=posterior, num_simulations=150, num_draws=49)
    assert_p_value(result.p_value)


WRONG = {
    "too narrow": (changed_guide(scale=0.6), "z[0]", "too narrow"),
    "too wide": (changed_guide(scale=1.7), "z[0]", "too wide"),
    "too low": (changed_guide(shift=-0.8), "z[1]", "too low"),
    "too high": (changed_guide(shift=0.8), "z[1]", "too high"),
}


@pytest.mark.parametrize(("guide", "latent", "match"), WRONG.values(), ids=WRONG)
def test_wrong_posterior_is_found_and_described(
    guide: Callable[[Tensor], None], latent: str, match: str
) -> None:
    result = sbc(linear_gaussian, X, posterior=guide, num_simulations=600)
    assert result.p_values[latent] < TEST_FAILURE_RATE
    (finding,) = result.findings
    assert finding.severity == Severity.ERROR
    assert latent in finding.problem
    pit_values = (result.ranks[:, result.names.index(latent)] + 0.5) / (result.num_draws + 1)
    assert match in describe_shape(pit_values)


def test_prior_in_place_of_the_posterior_is_found_by_the_likelihood_alone() -> None:
    result = sbc(linear_gaussian, X, posterior=PriorGuide(linear_gaussian))
    for name, p_value in result.p_values.items():
        if name == LOG_LIKELIHOOD:
            assert p_value < TEST_FAILURE_RATE
        else:
            assert_p_value(p_value)


def test_copies_among_the_draws_make_an_error_a_warning_with_a_caveat() -> None:
    result = sbc(linear_gaussian, X, posterior=ImportanceSampler(particles=40), num_simulations=600)
    assert float(result.ess.median()) < 20
    assert [finding.severity for finding in result.findings] == [Severity.WARNING]
    assert "independent ones" in result.caveats[0]


def test_ties_are_broken_evenly() -> None:
    ranks = _rank_first(torch.zeros(10, 2000, 1))
    assert (int(ranks.min()), int(ranks.max())) == (0, 9)
    points = torch.arange(1, 10) / 10
    assert_p_value(float(check_uniformity((ranks[:, 0] + 1) / 10, points=points).p_value))


def test_rank_counts_the_draws_below_the_truth() -> None:
    values = torch.tensor([2.5, 0.0, 1.0, 2.0, 3.0]).view(5, 1, 1)
    assert int(_rank_first(values)) == 3


def no_data_of_its_own(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x[:, 0], 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=x[:, 1])


def fixed_plate(x: Tensor) -> None:
    with pyro.plate("data", 30):
        z = pyro.sample("z", dist.Normal(torch.zeros(30), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def fixed_guide(x: Tensor) -> None:
    """Its posterior."""
    with pyro.plate("data", 30):
        pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


def test_data_that_cannot_be_taken_apart_are_simulated_together() -> None:
    result = sbc(fixed_plate, torch.zeros(30), posterior=fixed_guide, num_simulations=100)
    assert result.ranks.shape == (120, 2)
    assert_p_value(result.p_value)


DRAWS = draw_posterior(linear_gaussian, X, posterior=programs.exact_guide, num_draws=10)
BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: sbc(programs.two_observations, torch.ones(5, 2)), ValueError, "['c', 'x']"),
    (lambda: sbc(programs.only_a_factor, torch.ones(5)), ValueError, "got the sites []"),
    (lambda: sbc(no_data_of_its_own, torch.randn(5, 2)), ValueError, "one observed site"),
    (lambda: sbc(linear_gaussian, X, posterior=DRAWS), TypeError, "which is of given data"),
    (lambda: sbc(linear_gaussian, X, num_simulations=3), ValueError, "num_simulations >= 10"),
    (lambda: sbc(linear_gaussian, X, num_draws=1), ValueError, "num_draws >= 9"),
    (lambda: sbc(linear_gaussian, X.numpy()), TypeError, "torch.Tensor"),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
