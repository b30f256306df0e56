"""to_arviz of particles, ladders, fits and estimates of the evidence."""

import re
from collections.abc import Callable
from typing import Any

import arviz as az
import numpy as np
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.arviz.convert import to_arviz
from lvkam_pyro.arviz.marginal import best_estimate
from lvkam_pyro.training.loop import Fit
from tests.arviz.test_convert import SAMPLE, dims, groups_of, values
from tests.assertions import assert_within_standard_errors
from tests.checks import programs

MODEL = programs.linear_gaussian
PREDICTIONS = {"prior", "prior_predictive", "posterior_predictive", "observed_data"}
BARE = {"posterior", "log_likelihood", "conditional_log_likelihood"}


@pytest.fixture(scope="module")
def x() -> Tensor:
    torch.manual_seed(2)
    return programs.draw_data(3)


@pytest.fixture(scope="module")
def particles(x: Tensor) -> lv.Particles:
    torch.manual_seed(3)
    return lv.draw_particles(MODEL, programs.wide_guide, x, num_particles=8000)


@pytest.fixture(scope="module")
def ladder(x: Tensor) -> lv.ladder.LadderSamples:
    return lv.ladder.Ladder(num_temperatures=8, num_chains=8, num_samples=100).sample(MODEL, x)


@pytest.fixture(scope="module")
def comparison(x: Tensor) -> lv.comparison.EvidenceComparison:
    estimators = [lv.evidence.Importance(512), lv.evidence.Importance(4096)]
    models = {"right": MODEL, "shifted": lambda y: MODEL(y + 3)}
    return lv.compare_evidence(models, x, estimators, progress=False)


def assert_exact_posterior(idata: Any, x: Tensor) -> None:
    error = torch.tensor(np.asarray(az.mcse(idata)["z"])).double()
    mean = values(idata, "posterior", "z").mean((0, 1))
    assert_within_standard_errors(mean, programs.posterior_mean(x).double(), error)


def test_particles(x: Tensor, particles: lv.Particles) -> None:
    idata = to_arviz(particles)
    assert groups_of(idata) == BARE | {"log_prior", "proposal", "importance"}
    assert dims(idata, "posterior", "z") == (*SAMPLE, "data", "latent")
    assert idata["proposal"].sizes["particle"] == 2000
    assert_exact_posterior(idata, x)
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(values(idata, "posterior", "z"))
    torch.testing.assert_close(
        values(idata, "log_prior", "z"), log_prior.sum(-1), rtol=1e-4, atol=1e-4
    )


def test_chains_have_particles_of_their_own(particles: lv.Particles) -> None:
    # As many draws as particles: of shared ones some would be drawn twice.
    drawn = values(to_arviz(particles, num_chains=2, num_draws=4000), "posterior", "z")[..., 0, 0]
    assert not set(drawn[0].tolist()) & set(drawn[1].tolist())


@pytest.mark.parametrize("with_model", [False, True])
def test_ladder(with_model: bool, x: Tensor, ladder: lv.ladder.LadderSamples) -> None:
    idata = to_arviz(MODEL, x, ladder=ladder) if with_model else to_arviz(ladder)
    expected = BARE | {"power_posterior", "power_sample_stats", "thermodynamic"}
    assert groups_of(idata) == expected | (PREDICTIONS | {"log_prior"} if with_model else set())
    cold = values(idata, "power_posterior", "log_likelihood")[:, :, -1]
    (name,) = idata["conditional_log_likelihood"].data_vars
    conditional = values(idata, "conditional_log_likelihood", name)
    torch.testing.assert_close(cold, conditional, rtol=1e-5, atol=1e-4)
    assert_exact_posterior(idata, x)


def test_evidence_shows_value_and_error(comparison: lv.comparison.EvidenceComparison) -> None:
    evidence = comparison["right", "Importance"]
    idata = to_arviz(evidence, num_draws=2500)
    assert groups_of(idata) == {"posterior", "log_likelihood", "thermodynamic"}
    drawn = values(idata, "posterior", "log_evidence").flatten(0, 1)
    error = evidence.standard_error
    assert_within_standard_errors(drawn.mean(0), evidence.log_evidence, error / 100)
    spread = drawn.std(0) / error - 1
    assert_within_standard_errors(spread, torch.zeros(3).double(), torch.full((3,), 0.5**0.5 / 100))


# ArviZ 0.23 sorts in a way of which pandas 3 warns.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_comparison_is_what_az_compare_takes(comparison: lv.comparison.EvidenceComparison) -> None:
    found = to_arviz(comparison)
    assert list(found) == ["right", "shifted"]
    assert dims(found["right"], "posterior", "log_evidence") == (*SAMPLE, "estimator", "data")
    assert list(found["right"]["posterior"]["estimator"].values) == ["Importance", "Importance 2"]
    table = az.compare(found)
    assert list(table.index) == ["right", "shifted"]


def test_comparison_goes_by_the_best_estimate(comparison: lv.comparison.EvidenceComparison) -> None:
    of_model = [row.evidence for row in comparison if row.model == "right"]
    assert best_estimate(of_model).num_likelihood_evaluations == 4096
    right = to_arviz(comparison)["right"]
    best, all_ = values(right, "log_likelihood", "log_evidence"), "log_evidence"
    assert torch.equal(best, values(right, "posterior", all_)[:, :, 1])


def test_bound_is_never_the_best(x: Tensor) -> None:
    estimators = [lv.evidence.ELBO(64), lv.evidence.Importance(64)]
    guide = programs.exact_guide
    rows = lv.compare_evidence(MODEL, x, estimators, guide=guide, progress=False)
    assert best_estimate([row.evidence for row in rows]).estimator == "Importance"


def test_fit_brings_its_guide(x: Tensor) -> None:
    recipe = lv.Recipe(
        name="exact",
        build_guide=lambda model, x: programs.exact_guide,
        objective=lv.EmpiricalBayes(num_particles=8),
        num_epochs=1,
    )
    fit = Fit(MODEL, programs.exact_guide, recipe, [], 0)
    idata = to_arviz(fit, x, num_draws=20)
    assert float(values(idata, "importance", "ess").min()) > 3999


def test_resampled_draws_say_what_they_are_worth(x: Tensor) -> None:
    with pytest.warns(lv.arviz.UnreliablePosteriorWarning, match=r"k above 0\.7"):
        idata = to_arviz(MODEL, 8 * x, num_particles=100)
    attrs = idata["posterior"].attrs
    assert attrs["sampler"] == "importance resampling"
    assert attrs["smallest_weight_ess"] == float(values(idata, "importance", "ess").min())
    k = values(idata, "importance", "pareto_k")
    assert attrs["largest_pareto_k"] == float(k.max())
    assert attrs["num_unreliable"] == int((k > 0.7).sum())


BAD_INPUT: list[tuple[Callable[..., Any], type[Exception], str]] = [
    (lambda f: to_arviz(object()), TypeError, "got object"),
    (lambda f: to_arviz(f("particles"), num_chains=8001), ValueError, "smaller num_chains"),
    (lambda f: to_arviz(f("particles"), num_draws=0), ValueError, "num_draws >= 1"),
    (lambda f: to_arviz(MODEL, f("x") + 1, ladder=f("ladder")), ValueError, "computed for others"),
    (lambda f: to_arviz(f("comparison"), num_chains=0), ValueError, "num_chains >= 1"),
    (lambda f: to_arviz(f("ladder"), coords={"person": "abc"}), ValueError, "no axis is called"),
    (
        lambda f: to_arviz(f("ladder"), coords={"data": "abcd"}),
        ValueError,
        "3 entries along 'data'",
    ),
    (lambda f: to_arviz(f("ladder"), dims={"y": ["a"]}), ValueError, "no variable is called"),
    (lambda f: to_arviz(f("ladder"), dims={"z": ["a"]}), ValueError, "2 names for the axes"),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(
    call: Callable[..., Any], error: type[Exception], match: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call(request.getfixturevalue)


def test_labels_of_the_user(x: Tensor) -> None:
    people = ["Ann", "Bo", "Cy"]
    idata = to_arviz(
        MODEL,
        x,
        guide=programs.wide_guide,
        coords={"person": people, "trait": ["wit", "age"]},
        dims={"z": ["person", "trait"], "x": ["person", "test"], "weight": ["person"]},
        constant_data={"weight": [1.0, 2.0, 3.0]},
    )
    assert dims(idata, "posterior", "z") == (*SAMPLE, "person", "trait")
    assert dims(idata, "proposal", "z") == ("chain", "particle", "person", "trait")
    assert dims(idata, "log_likelihood", "x") == (*SAMPLE, "person")
    assert dims(idata, "observed_data", "x") == ("person", "test")
    assert list(idata["posterior"]["person"].values) == people
    assert float(idata["constant_data"]["weight"].sel(person="Bo")) == 2.0
    by_hand = values(idata, "posterior", "z")[:, :, 1, 0]
    chosen = np.asarray(idata["posterior"]["z"].sel(person="Bo", trait="wit"))
    assert np.array_equal(by_hand.numpy(), chosen)
