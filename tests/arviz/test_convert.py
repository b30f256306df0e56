"""to_arviz: groups, axes and values, on the ArviZ that is installed."""

import re
from typing import Any

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.convert import to_arviz
from lvkam_pyro.arviz.weights import UnreliablePosteriorWarning
from lvkam_pyro.comparison.compare import compare_evidence
from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from tests.assertions import assert_within_standard_errors
from tests.checks import programs

NUM_DATA = 5
GROUPS = {
    "posterior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
    "observed_data",
    "log_likelihood",
    "conditional_log_likelihood",
    "log_prior",
}
SAMPLE = ("chain", "draw")


def groups_of(idata: Any) -> set[str]:
    """The groups of an InferenceData or a DataTree."""
    names = idata.groups() if callable(idata.groups) else idata.groups
    return {name.strip("/") for name in names} - {""}


def values(idata: Any, group: str, name: str) -> Tensor:
    return torch.tensor(np.asarray(idata[group][name])).double()


def dims(idata: Any, group: str, name: str) -> tuple[str, ...]:
    return tuple(idata[group][name].dims)


@pytest.fixture(scope="module")
def x() -> Tensor:
    torch.manual_seed(1)
    return programs.draw_data(NUM_DATA)


@pytest.fixture(scope="module")
def idata(x: Tensor) -> Any:
    return to_arviz(programs.linear_gaussian, x, guide=programs.wide_guide)


@pytest.fixture(scope="module")
def ladder(x: Tensor) -> LadderSamples:
    configuration = Ladder(num_temperatures=12, num_chains=16, num_samples=100)
    return configuration.sample(programs.linear_gaussian, x)


def test_groups_and_axes_of_a_guide(idata: Any) -> None:
    assert groups_of(idata) == GROUPS | {"proposal", "importance"}
    assert dims(idata, "posterior", "z") == (*SAMPLE, "data", "latent")
    assert dims(idata, "posterior_predictive", "x") == (*SAMPLE, "data", "output")
    assert dims(idata, "prior", "z") == (*SAMPLE, "data", "latent")
    assert dims(idata, "observed_data", "x") == ("data", "output")
    assert dims(idata, "log_likelihood", "x") == (*SAMPLE, "data")
    assert dims(idata, "conditional_log_likelihood", "x") == (*SAMPLE, "data")
    assert dims(idata, "log_prior", "z") == (*SAMPLE, "data")
    assert dims(idata, "proposal", "z") == ("chain", "particle", "data", "latent")
    assert dims(idata, "proposal", "log_weights_psis") == ("chain", "particle", "data")
    assert dims(idata, "importance", "pareto_k") == ("data",)
    assert idata["posterior"].attrs["inference_library"] == "lvkam_pyro"


def test_particles_of_the_prior_have_no_data_axis(x: Tensor) -> None:
    idata = to_arviz(programs.linear_gaussian, x, num_draws=10)
    assert dims(idata, "proposal", "z") == ("chain", "particle", "latent")
    assert dims(idata, "posterior", "z") == (*SAMPLE, "data", "latent")


def test_groups_and_axes_of_a_ladder(x: Tensor, ladder: LadderSamples) -> None:
    idata = to_arviz(programs.linear_gaussian, x, ladder=ladder)
    assert groups_of(idata) == GROUPS | {"power_posterior", "power_sample_stats", "thermodynamic"}
    power = dims(idata, "power_posterior", "log_likelihood")
    assert power == (*SAMPLE, "temperature", "data")
    assert dims(idata, "power_sample_stats", "swap_rate") == ("swap", "data")
    assert dims(idata, "thermodynamic", "mcse") == ("temperature", "data")
    temperatures = torch.tensor(np.asarray(idata["thermodynamic"]["temperature"]))
    assert torch.equal(temperatures, ladder.temperatures)
    cold = values(idata, "power_posterior", "log_likelihood")[:, :, -1]
    torch.testing.assert_close(
        cold, values(idata, "conditional_log_likelihood", "x"), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("source", ["guide", "ladder"])
def test_posterior_is_the_exact_one(source: str, request: pytest.FixtureRequest) -> None:
    x = request.getfixturevalue("x")
    idata = request.getfixturevalue("idata")
    if source == "ladder":
        samples = request.getfixturevalue("ladder")
        idata = to_arviz(programs.linear_gaussian, x, ladder=samples)
    z = values(idata, "posterior", "z")
    error = torch.tensor(np.asarray(az.mcse(idata)["z"])).double()
    assert_within_standard_errors(z.mean((0, 1)), programs.posterior_mean(x).double(), error)
    variance = programs.POSTERIOR_COVARIANCE.diagonal().double()
    squares = (z - programs.posterior_mean(x)).square()
    spread = squares.flatten(0, 1).std(0) / ess(idata).sqrt()
    assert_within_standard_errors(squares.mean((0, 1)), variance, spread)


def ess(idata: Any) -> Tensor:
    return torch.tensor(np.asarray(az.ess(idata)["z"]))


def test_predictions_have_the_exact_moments(idata: Any, x: Tensor) -> None:
    mean = programs.posterior_mean(x).double() @ programs.LOADINGS.double()
    drawn = values(idata, "posterior_predictive", "x").flatten(0, 1)
    assert_within_standard_errors(drawn.mean(0), mean, drawn.std(0) / ess(idata).min() ** 0.5)
    prior = values(idata, "prior_predictive", "x").flatten(0, 2)
    zero = torch.zeros(programs.NUM_OUTPUTS).double()
    assert_within_standard_errors(prior.mean(0), zero, prior.std(0) / len(prior) ** 0.5)


def test_resampled_draws_look_like_independent_ones(idata: Any) -> None:
    assert float(np.max(az.rhat(idata)["z"])) < 1.05
    assert ess(idata).min() > 1000


def test_rhat_shows_a_guide_that_misses_the_posterior(x: Tensor) -> None:
    with pytest.warns(UnreliablePosteriorWarning):
        idata = to_arviz(programs.linear_gaussian, 4 * x, num_particles=50, num_draws=200)
    assert float(np.max(az.rhat(idata)["z"])) > 1.05
    assert values(idata, "importance", "ess").min() < 20


@pytest.mark.parametrize("source", ["guide", "ladder"])
def test_loo_is_the_exact_evidence(source: str, request: pytest.FixtureRequest) -> None:
    x = request.getfixturevalue("x")
    idata = request.getfixturevalue("idata")
    if source == "ladder":
        samples = request.getfixturevalue("ladder")
        idata = to_arviz(programs.linear_gaussian, x, ladder=samples)
    marginal = values(idata, "log_likelihood", "x").flatten(0, 1)
    exact = programs.exact_log_evidence(x).double()
    assert_within_standard_errors(marginal.mean(0), exact, marginal.std(0))
    loo = az.loo(idata, pointwise=True)
    assert float(abs(loo_total(loo) - marginal.mean(0).sum())) < 0.02


def loo_total(loo: Any) -> float:
    return float(loo["elpd_loo"] if "elpd_loo" in dir(loo) else loo.elpd)


def test_spread_of_the_marginal_is_the_error_of_the_estimate(x: Tensor) -> None:
    runs = [
        to_arviz(programs.linear_gaussian, x, guide=programs.wide_guide, num_draws=50, seed=seed)
        for seed in range(30)
    ]
    estimates = torch.stack([values(run, "importance", "log_evidence") for run in runs])
    spread = values(runs[0], "log_likelihood", "x").flatten(0, 1).std(0)
    ratio = (spread / estimates.std(0)).mean()
    assert 0.7 < ratio < 1.4


def test_equal_weights_of_the_exact_guide(x: Tensor) -> None:
    idata = to_arviz(programs.linear_gaussian, x, guide=programs.exact_guide, num_draws=20)
    smoothed = values(idata, "proposal", "log_weights_psis")
    assert torch.allclose(smoothed, torch.full_like(smoothed, -np.log(4000)), atol=1e-4)
    exact = programs.exact_log_evidence(x).double()
    assert torch.allclose(values(idata, "importance", "log_evidence"), exact, atol=1e-4)


def test_log_densities_are_those_of_the_draws(idata: Any, x: Tensor) -> None:
    z = values(idata, "posterior", "z")
    log_prior = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    loc = z @ programs.LOADINGS.double()
    log_likelihood = dist.Normal(loc, programs.SCALE).log_prob(x.double()).sum(-1)
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(values(idata, "log_prior", "z"), log_prior, **close)
    conditional = values(idata, "conditional_log_likelihood", "x")
    torch.testing.assert_close(conditional, log_likelihood, **close)


SHAPES = {
    "two latents": (
        programs.two_latents,
        torch.tensor([0.0, 1.0, 1.0]),
        {
            ("posterior", "z"): (*SAMPLE, "people", "z_dim_0"),
            ("posterior", "w"): (*SAMPLE, "people"),
            ("posterior_predictive", "y"): (*SAMPLE, "people"),
            ("log_prior", "z_w"): (*SAMPLE, "people"),
            ("log_likelihood", "y"): (*SAMPLE, "people"),
            ("observed_data", "y"): ("people",),
        },
    ),
    "inner plate": (
        programs.inner_plate,
        torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
        {
            ("posterior", "z"): (*SAMPLE, "data"),
            ("posterior", "u"): (*SAMPLE, "data", "repeat"),
            ("posterior_predictive", "x"): (*SAMPLE, "data", "repeat"),
            ("log_likelihood", "x"): (*SAMPLE, "data"),
            ("observed_data", "x"): ("data", "repeat"),
        },
    ),
    "two observations": (
        programs.two_observations,
        torch.ones(3, 2),
        {
            ("posterior_predictive", "x"): (*SAMPLE, "data"),
            ("posterior_predictive", "c"): (*SAMPLE, "data"),
            ("log_likelihood", "x_c"): (*SAMPLE, "data"),
            ("observed_data", "c"): ("data",),
        },
    ),
    "only a factor": (
        programs.only_a_factor,
        torch.ones(3),
        {("posterior", "z"): (*SAMPLE, "data"), ("log_likelihood", "factor"): (*SAMPLE, "data")},
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_any_model_with_a_data_plate(case: str) -> None:
    model, x, expected = SHAPES[case]
    idata = to_arviz(model, x, num_draws=7, num_chains=2, num_particles=100)
    assert {key: dims(idata, *key) for key in expected} == expected
    for group, name in expected:
        assert values(idata, group, name).isfinite().all()
        sizes = dict(idata[group][name].sizes)
        assert sizes.get("draw", 7) == 7


def dataset(idata: Any, group: str) -> xr.Dataset:
    found = idata[group]
    return found.to_dataset() if isinstance(found, xr.DataTree) else found


def test_summary_runs(idata: Any) -> None:
    summary = az.summary(idata)
    assert len(summary) == NUM_DATA * programs.NUM_LATENTS
    assert {"r_hat", "ess_bulk"} <= set(summary.columns)


def test_equal_seeds_give_equal_draws_and_leave_the_random_state(x: Tensor) -> None:
    before = torch.get_rng_state()
    first, second, third = (
        values(to_arviz(programs.linear_gaussian, x, num_draws=5, seed=seed), "posterior", "z")
        for seed in (3, 3, 4)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def plate_named_draw(x: Tensor) -> None:
    with pyro.plate("draw", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def subsampled(x: Tensor) -> None:
    with pyro.plate("data", len(x), subsample_size=2) as index:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])


def impossible(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("never", torch.full_like(z, -torch.inf))


BAD_INPUT = [
    (programs.only_a_factor, {"x": [1.0]}, TypeError, "torch.Tensor"),
    (programs.only_a_factor, {"x": torch.tensor([torch.nan])}, ValueError, "finite"),
    (programs.only_a_factor, {"num_draws": 0}, ValueError, "num_draws >= 1"),
    (programs.only_a_factor, {"num_chains": 0}, ValueError, "num_chains >= 1"),
    (programs.only_a_factor, {"num_particles": 2.5}, TypeError, "num_particles"),
    (plate_named_draw, {}, ValueError, "Rename the plate"),
    (subsampled, {}, ValueError, "without subsample_size"),
    (impossible, {}, ValueError, "finite, positive weight"),
]


@pytest.mark.parametrize(("model", "options", "error", "match"), BAD_INPUT)
def test_bad_input(
    model: programs.Program, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    options = {"x": torch.ones(3)} | options
    with pytest.raises(error, match=re.escape(match)):
        to_arviz(model, options.pop("x"), **options)


def test_evidence_is_kept_and_takes_the_place_of_the_guide(x: Tensor) -> None:
    estimators = [Importance(2048), Importance(512)]
    guide = programs.exact_guide
    model = programs.linear_gaussian
    comparison = compare_evidence(model, x, estimators, guide=guide, progress=False)
    idata = to_arviz(model, x, evidence=comparison, num_draws=20)
    assert dims(idata, "thermodynamic", "se") == ("estimator", "data")
    first, second = (row.evidence for row in comparison)
    both = torch.stack([first.log_evidence, second.log_evidence])
    torch.testing.assert_close(values(idata, "thermodynamic", "log_evidence"), both)
    flags = torch.stack([first.verdict.unreliable, second.verdict.unreliable])
    assert torch.equal(values(idata, "thermodynamic", "unreliable").bool(), flags)
    # The prior's particles know less than this one estimate, which takes their place.
    idata = to_arviz(model, x, evidence=first, num_draws=20)
    marginal = values(idata, "log_likelihood", "x").flatten(0, 1)
    error = first.standard_error.max() + 1e-4
    assert (marginal - first.log_evidence).abs().max() < 6 * error


def test_every_estimator_has_its_discretization_error(x: Tensor) -> None:
    ladder = Ladder(num_temperatures=4, num_chains=4, num_warmup=4, num_samples=4)
    estimators = [Importance(64), ThermodynamicIntegration(ladder)]
    comparison = compare_evidence(programs.linear_gaussian, x, estimators, progress=False)
    idata = to_arviz(programs.linear_gaussian, x, evidence=comparison, num_draws=20)
    assert list(idata["thermodynamic"]["estimator"].values) == ["Importance", "Thermodynamic"]
    errors = values(idata, "thermodynamic", "discretization_error")
    known = comparison["model", "Thermodynamic"].discretization_error
    assert torch.equal(errors, torch.stack([torch.zeros(len(x)).double(), known]))


def test_evidence_of_several_models_is_refused(x: Tensor) -> None:
    models = {"a": programs.linear_gaussian, "b": programs.linear_gaussian}
    comparison = compare_evidence(models, x, [Importance(64)], progress=False)
    with pytest.raises(ValueError, match="of one model"):
        to_arviz(programs.linear_gaussian, x, evidence=comparison)


def test_evidence_of_other_data_is_refused(x: Tensor) -> None:
    evidence = Importance(64).estimate(programs.linear_gaussian, x)
    with pytest.raises(ValueError, match="Importance was computed for others"):
        to_arviz(programs.linear_gaussian, x + 1, evidence=evidence)


def test_ladder_of_other_data_is_refused(x: Tensor, ladder: LadderSamples) -> None:
    with pytest.raises(ValueError, match="ladder was computed for others"):
        to_arviz(programs.linear_gaussian, x + 1, ladder=ladder)
