"""Leave-one-out PIT values against exact conditional predictions; densities of single values."""

import re
from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import poisson
from torch import Tensor
from torch.distributions import Normal

import lvkam_pyro as lv
from lvkam_pyro.arviz.layout import Layout
from lvkam_pyro.checks.leave_one_out import loo_pit
from lvkam_pyro.checks.pointwise import observed_values, pointwise_log_likelihood
from lvkam_pyro.checks.samplers import ImportanceSampler, draw_posterior
from lvkam_pyro.likelihoods.bernoulli import FactoredBernoulli
from lvkam_pyro.likelihoods.categorical import FactoredCategorical
from lvkam_pyro.likelihoods.joint import Concatenation
from lvkam_pyro.likelihoods.normal import FactoredNormal
from lvkam_pyro.statistics.weights import MAX_PARETO_K
from tests.assertions import (
    TEST_FAILURE_RATE,
    assert_p_value,
    assert_within_standard_errors,
)
from tests.checks import programs
from tests.checks.programs import linear_gaussian

COVARIANCE = programs.LOADINGS.T @ programs.LOADINGS + programs.SCALE**2 * torch.eye(4)


def exact_pit_values(x: Tensor) -> Tensor:
    """The distribution function of each output given the others, at its value."""
    precision = torch.linalg.inv(COVARIANCE)
    variance = 1 / precision.diagonal()
    mean = x - (x @ precision) * variance
    return Normal(mean, variance.sqrt()).cdf(x)


def test_pit_values_are_those_of_the_exact_predictions() -> None:
    x = programs.draw_data(40)
    found = loo_pit(linear_gaussian, x, posterior=programs.exact_guide, num_draws=4000)
    trusted = found.pareto_k < 0.5
    assert trusted.sum() > 80
    assert_within_standard_errors(
        found.pit[trusted],
        exact_pit_values(x).double()[trusted],
        # What the spread of the weighted draws says is itself known to some twentieth.
        1.2 * found.standard_error[trusted],
        extra=1 / 4000,
    )


def test_pit_values_of_the_model_are_uniform() -> None:
    found = loo_pit(linear_gaussian, programs.draw_data(300), posterior=programs.exact_guide)
    assert_p_value(found.p_value)


@pytest.mark.parametrize(("factor", "match"), [(1.6, "too narrow"), (0.5, "too wide")])
def test_wrong_width_is_found_and_named(factor: float, match: str) -> None:
    x = factor * programs.draw_data(150)
    found = loo_pit(linear_gaussian, x, posterior=programs.exact_guide, num_draws=400)
    assert found.p_value < TEST_FAILURE_RATE
    assert match in found.findings[0].problem


def test_weights_without_variance_leave_a_note() -> None:
    found = loo_pit(linear_gaussian, 1.6 * programs.draw_data(150), posterior=programs.exact_guide)
    (warning,) = found.findings
    heavy = replace(found, pareto_k=torch.full_like(found.pareto_k, 0.9))
    (note,) = heavy.findings
    assert (warning.severity, note.severity) == (
        lv.checks.Severity.WARNING,
        lv.checks.Severity.NOTE,
    )
    assert "not reliable" in note.problem


def test_bias_is_found_and_named() -> None:
    def shifted(x: Tensor) -> None:
        linear_gaussian(x + 1.0)

    x = programs.draw_data(150)
    found = loo_pit(shifted, x, posterior=ImportanceSampler(particles=2000), num_draws=400)
    assert found.p_values["mean"] < TEST_FAILURE_RATE
    # The model sees data higher than its own.
    assert found.mean.value > 0.5


def lonely(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def counts(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("x", dist.Poisson((0.5 * z).exp().expand(*z.shape[:-1], 3)).to_event(1), obs=x)


def test_a_value_alone_is_predicted_from_the_prior() -> None:
    x = torch.linspace(-3, 3, 13)
    found = loo_pit(lonely, x, num_draws=8000)
    exact = Normal(0.0, 2**0.5).cdf(x).double()
    assert_within_standard_errors(found.pit[:, 0], exact, (exact * (1 - exact) / 8000).sqrt())
    assert not found.pareto_k.any()


def test_whole_numbers_have_uniform_pit_values() -> None:
    rate = (0.5 * torch.randn(300, 1)).exp().expand(-1, 3)
    x = torch.from_numpy(poisson.rvs(rate, random_state=0)).float()
    assert_p_value(loo_pit(counts, x, num_draws=400).p_value)


def test_bad_weights_are_a_caveat() -> None:
    found = loo_pit(linear_gaussian, programs.draw_data(30), posterior=programs.exact_guide)
    count = int((found.pareto_k > MAX_PARETO_K).sum())
    assert count > 0
    assert found.caveats[0].startswith(f"{count} of 120 predictions")


DISTRIBUTIONS = {
    "normal": (FactoredNormal(torch.randn(5, 3), torch.tensor([0.5, 1.0, 2.0])), torch.randn(5, 3)),
    "Bernoulli": (FactoredBernoulli(torch.randn(5, 3)), torch.ones(5, 3).tril()),
    "categorical": (
        FactoredCategorical(torch.randn(5, 3, 4)),
        torch.tensor([0.0, 3.0, -1.0]).expand(5, -1),
    ),
    "joint": (
        Concatenation(
            [
                FactoredBernoulli(torch.randn(5, 2)),
                dist.Gamma(torch.ones(5, 2), 2.0).to_event(1),
                FactoredNormal(torch.randn(5, 1), torch.tensor(1.0)),
            ]
        ),
        torch.tensor([0.0, 1.0, 0.3, 2.0, -1.0]).expand(5, -1),
    ),
}


@pytest.mark.parametrize(("distribution", "value"), DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_densities_of_the_values_add_up_to_that_of_all(
    distribution: FactoredNormal | FactoredBernoulli | FactoredCategorical | Concatenation,
    value: Tensor,
) -> None:
    each = distribution.pointwise_log_prob(value)
    assert each.shape == value.shape
    torch.testing.assert_close(each.sum(-1), distribution.log_prob(value))
    changed = value.clone()
    changed[:, 0] = 1 - changed[:, 0]
    assert torch.equal(distribution.pointwise_log_prob(changed)[:, 1:], each[:, 1:])


@pytest.mark.parametrize(
    ("program", "x"),
    [
        (linear_gaussian, programs.draw_data(5)),
        (programs.inner_plate, torch.randn(5, 3)),
        (programs.two_observations, torch.randn(5, 2)),
        (programs.two_latents, torch.tensor([0.0, 1.0, 1.0])),
    ],
    ids=["event", "inner plate", "two sites", "scalar and factor"],
)
def test_densities_of_a_programs_values_add_up(
    program: Callable[[Tensor], None], x: Tensor
) -> None:
    bound = lv.bind(program, x)
    latents = draw_posterior(bound, num_draws=6).latents
    layout = Layout.of(bound)
    each = pointwise_log_likelihood(bound, layout, latents)
    assert each.shape == (6, *observed_values(layout).shape)
    values = {k: v[2] for k, v in bound.structure.all_to_pyro(latents).items()}
    trace = pyro.poutine.trace(pyro.poutine.condition(program, values)).get_trace(x)
    trace.compute_log_prob()
    expected = sum(
        trace.nodes[name]["log_prob"].reshape(len(x), -1).sum(-1) for name in layout.observations
    )
    torch.testing.assert_close(each[2].sum(-1), expected)


def correlated(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        pyro.sample("x", dist.MultivariateNormal(z, COVARIANCE), obs=x)


def masked(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        with pyro.poutine.mask(mask=torch.tensor([True, False])):
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


X = programs.draw_data(2)
BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: loo_pit(correlated, X), ValueError, "depend on each other given the latents"),
    (lambda: loo_pit(masked, X), ValueError, "'x' is masked or scaled"),
    (lambda: loo_pit(programs.only_a_factor, torch.ones(3)), ValueError, "pyro.factor alone"),
    (lambda: loo_pit(linear_gaussian, X, num_draws=1), ValueError, "num_draws >= 2"),
    (lambda: loo_pit(linear_gaussian, X, posterior=3), TypeError, "got int"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
