"""to_arviz of SVI and automatic guides: their draws, their weights, exact values."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoGuide, AutoMultivariateNormal, AutoNormal
from pyro.optim import Adam
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.arviz.convert import to_arviz
from lvkam_pyro.arviz.moments import guide_of_moments
from tests.arviz.test_convert import SAMPLE, dims, groups_of, loo_total, values
from tests.assertions import assert_within_standard_errors
from tests.checks import programs, samplers

X = torch.tensor([0.3, -1.2, 0.8, 2.0, 0.1])
PREDICTIONS = {"posterior", "posterior_predictive", "prior", "prior_predictive", "observed_data"}
JOINT = PREDICTIONS | {"log_likelihood", "log_prior", "sample_stats"}
LOCAL = PREDICTIONS | {"log_likelihood", "log_prior", "conditional_log_likelihood"}
WEIGHTS = {"proposal", "importance"}


def svi(model: Callable[..., object], guide: Callable[..., object]) -> SVI:
    return SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO())


def initialised(kind: type[AutoGuide], model: Callable[..., object], *args: Tensor) -> AutoGuide:
    guide = kind(model)
    guide(*args)
    return guide


def normal_joint(x: Tensor) -> Tensor:
    """Log p(x) of `normal_mean`: normal with covariance 1 + identity."""
    covariance = torch.ones(len(x), len(x)) + torch.eye(len(x))
    return dist.MultivariateNormal(torch.zeros(len(x)), covariance).log_prob(x)


def test_exact_guide_of_a_global_latent() -> None:
    idata = to_arviz(svi(samplers.normal_mean, samplers.normal_mean_guide), X)
    assert groups_of(idata) == JOINT | WEIGHTS
    assert dims(idata, "posterior", "mean") == SAMPLE
    assert dims(idata, "log_likelihood", "x") == (*SAMPLE, "data")
    assert dims(idata, "importance", "ess") == ()
    # The guide is the posterior: every weight is p(x), up to single precision.
    weights = values(idata, "proposal", "log_weights")
    exact = normal_joint(X).double()
    assert torch.allclose(weights, exact.expand_as(weights), atol=1e-4)
    assert torch.allclose(values(idata, "importance", "log_evidence"), exact, atol=1e-4)
    assert idata["posterior"].attrs["sampler"] == "variational guide"
    mean = values(idata, "posterior", "mean")
    error = mean.std() / mean.numel() ** 0.5
    assert_within_standard_errors(mean.mean(), (X.sum() / 6).double(), error)
    assert float(az.rhat(idata)["mean"]) < 1.02


def test_a_guide_that_is_off_is_said_to_be() -> None:
    def far(x: Tensor) -> None:
        pyro.sample("mean", dist.Normal(2.0, 0.1))

    with pytest.warns(lv.arviz.UnreliablePosteriorWarning, match="The posterior comes"):
        idata = to_arviz(svi(samplers.normal_mean, far), X)
    assert float(values(idata, "importance", "pareto_k")) > 0.7


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal, AutoDelta])
def test_automatic_guides_of_nested_plates(kind: type[AutoGuide]) -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    guide = initialised(kind, samplers.mean_model, x)
    with (
        pytest.warns(lv.arviz.UnreliablePosteriorWarning)
        if kind is not AutoDelta
        else nullcontext()
    ):
        idata = to_arviz(guide, x, num_draws=50)
    assert groups_of(idata) == JOINT | (set() if kind is AutoDelta else WEIGHTS)
    assert dims(idata, "posterior", "centre") == (*SAMPLE, "group")
    shift = values(idata, "posterior", "shift")
    assert shift.shape == (4, 50, 2, 2)
    spread = shift.flatten(0, 1).std(0).mean()
    assert float(spread) == pytest.approx(0.0 if kind is AutoDelta else 0.1, abs=0.02)
    # The model is the user's, not the one whose latents the guide set to their first values.
    assert float(values(idata, "prior", "mean").std()) == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal, AutoDelta])
def test_automatic_guides_of_latents_of_each_datum(kind: type[AutoGuide]) -> None:
    torch.manual_seed(0)
    x = programs.draw_data(3)
    guide = initialised(kind, programs.linear_gaussian, x)
    evidence = lv.evidence.Importance(256).estimate(programs.linear_gaussian, x)
    options: dict[str, Any] = {"num_draws": 100, "evidence": evidence}
    # Untrained, AutoNormal has weights that say so.
    with pytest.warns(lv.arviz.UnreliablePosteriorWarning) if kind is AutoNormal else nullcontext():
        idata = to_arviz(svi(programs.linear_gaussian, guide), x, **options)
    assert groups_of(idata) == LOCAL | {"thermodynamic"} | (
        WEIGHTS if kind is AutoNormal else set()
    )
    assert dims(idata, "posterior", "z") == (*SAMPLE, "data", "latent")
    assert values(idata, "posterior", "z").shape == (4, 100, 3, 2)


def test_exact_guide_of_latents_of_each_datum() -> None:
    torch.manual_seed(0)
    x = programs.draw_data(3)
    idata = to_arviz(svi(programs.linear_gaussian, programs.exact_guide), x)
    assert groups_of(idata) == LOCAL | WEIGHTS
    assert dims(idata, "importance", "ess") == ("data",)
    exact = programs.exact_log_evidence(x)
    assert torch.allclose(values(idata, "importance", "log_evidence"), exact.double(), atol=1e-4)
    assert abs(loo_total(az.loo(idata)) - float(exact.sum())) < 1e-3
    # The guide's own draws, not resampled ones.
    drawn = values(idata, "posterior", "z")
    assert torch.equal(drawn, values(idata, "proposal", "z"))
    assert len(drawn.flatten().unique()) > 0.99 * drawn.numel()


def test_guide_without_a_latent_is_refused() -> None:
    def empty(x: Tensor) -> None:
        pyro.sample("other", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"does not draw the model's latent sites \['mean'\]"):
        to_arviz(svi(samplers.normal_mean, empty), X)


def test_counts_are_checked() -> None:
    with pytest.raises(ValueError, match="num_chains >= 1"):
        to_arviz(svi(samplers.normal_mean, samplers.normal_mean_guide), X, num_chains=0)


def positive(x: Tensor) -> None:
    """Two latents on bounded supports, one of them in a plate inside the data's."""
    with pyro.plate("data", len(x), dim=-2):
        rate = pyro.sample("rate", dist.Gamma(2.0, 2.0))
        with pyro.plate("repeat", x.shape[1], dim=-1):
            share = pyro.sample("share", dist.Beta(2.0, 3.0))
            pyro.sample("x", dist.Normal(rate * share, 0.5), obs=x)


def test_guide_of_moments_finds_the_evidence() -> None:
    x = torch.tensor([[0.2, 0.5], [0.9, 1.4], [0.1, -0.2]])
    particles = lv.draw_particles(positive, lv.PriorGuide(positive), x, num_particles=2**15)
    guide = guide_of_moments(lv.bind(positive, x), particles.resample(2000))
    found = lv.draw_particles(positive, guide, x, num_particles=2**13)
    weights = (found.log_weights - found.log_evidence).exp()
    other = (particles.log_weights - particles.log_evidence).exp()
    error = (weights.var(0) / len(weights) + other.var(0) / len(other)).sqrt()
    assert_within_standard_errors(found.log_evidence, particles.log_evidence, error)
    assert float(weights.var(0).max()) < 1.0


def test_guide_of_moments_has_the_density_of_students_t() -> None:
    x = torch.zeros(1, programs.NUM_OUTPUTS)
    draws = torch.randn(4000, 1, 2) * torch.tensor([1.0, 2.0])
    guide = guide_of_moments(lv.bind(programs.linear_gaussian, x), {"z": draws})
    particles = lv.draw_particles(programs.linear_gaussian, guide, x, num_particles=2000)
    z = particles.latents["z"]
    scale = 1.2 * 0.6 * draws[:, 0].T.cov()
    offset = z[:, 0] - draws.mean((0, 1))
    distance = (offset @ torch.linalg.inv(scale) * offset).sum(-1)
    log_prob = -3.5 * (distance / 5).log1p() - 0.5 * torch.logdet(scale) - math.log(2 * math.pi)
    torch.testing.assert_close(particles.log_guide[:, 0], log_prob, rtol=1e-3, atol=1e-3)


def test_a_point_has_no_moments() -> None:
    x = torch.zeros(1, programs.NUM_OUTPUTS)
    program = lv.bind(programs.linear_gaussian, x)
    guide = guide_of_moments(program, {"z": torch.ones(10, 1, 2)})
    assert isinstance(guide, lv.PriorGuide)


POPULATIONS = {
    "NUTSGuide": lambda: lv.guides.NUTSGuide(programs.linear_gaussian, num_warmup=50),
    "LadderGuide": lambda: lv.guides.LadderGuide(programs.linear_gaussian),
    "RejectionGuide": lambda: lv.guides.RejectionGuide(programs.linear_gaussian),
    "ImportanceGuide": lambda: lv.guides.ImportanceGuide(
        programs.linear_gaussian, programs.wide_guide, num_particles=4000
    ),
}


@pytest.mark.parametrize(
    ("name", "by"), [("ImportanceGuide", "svi"), *((name, "model") for name in POPULATIONS)]
)
def test_guides_that_draw_the_posterior(name: str, by: str) -> None:
    """Their weights are equal, and of NUTS no evidence: they are no weights to go by."""
    torch.manual_seed(0)
    x, model, guide = programs.draw_data(2), programs.linear_gaussian, POPULATIONS[name]()
    options = {"num_draws": 100, "num_chains": 2}
    source = (model, x) if by == "model" else (svi(model, guide), x)
    idata = to_arviz(*source, **options, **({"guide": guide} if by == "model" else {}))
    assert idata["posterior"].attrs["sampler"] == name
    mean = values(idata, "posterior", "z").mean((0, 1))
    error = torch.tensor(np.asarray(az.mcse(idata)["z"])).double()
    assert_within_standard_errors(mean, programs.posterior_mean(x).double(), error)
    marginal = values(idata, "log_likelihood", "x").flatten(0, 1)
    exact = programs.exact_log_evidence(x).double()
    assert_within_standard_errors(marginal.mean(0), exact, marginal.std(0))
    assert float(values(idata, "importance", "ess").max()) < 1990


def test_chains_are_kept_in_order() -> None:
    """Resampling would shuffle them, and hide that a chain's neighbours are alike."""
    torch.manual_seed(0)
    x, guide = (
        programs.draw_data(1),
        lv.guides.NUTSGuide(programs.linear_gaussian, max_tree_depth=1),
    )
    idata = to_arviz(programs.linear_gaussian, x, guide=guide, num_draws=150, num_chains=2)
    z = values(idata, "posterior", "z")[..., 0, 0]
    centred = z - z.mean()
    assert float((centred[:, 1:] * centred[:, :-1]).mean() / centred.var()) > 0.2
