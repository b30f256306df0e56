"""Pyro's own guides as proposals: their weights against closed forms, at any number of data."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import (
    AutoDiagonalNormal,
    AutoGuideList,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.training.batches import WholeDataWarning
from tests.training.toy import toy_recipe

NUM_DATA, NOISE = 30, 0.5


def regression(features: Tensor, y: Tensor) -> Tensor:
    """A linear Gaussian regression: the data share their weights and their offset."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(y)):
        loc = (weights * features).sum(-1) + offset
        return pyro.sample("y", dist.Normal(loc, NOISE), obs=y)


def regression_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(NUM_DATA, 2, generator=generator)
    noise = NOISE * torch.randn(NUM_DATA, generator=generator)
    return features, features @ torch.tensor([1.0, -1.0]) + 0.5 + noise


DATA = regression_data()


def exact() -> float:
    """Log N(y; 0, F F' + noise^2 I) with a column of ones among the features."""
    features = torch.cat([DATA[0], torch.ones(NUM_DATA, 1)], 1).double()
    covariance = features @ features.T + NOISE**2 * torch.eye(NUM_DATA, dtype=torch.float64)
    law = dist.MultivariateNormal(torch.zeros(NUM_DATA, dtype=torch.float64), covariance)
    return law.log_prob(DATA[1].double()).item()


def guide_list(model: Callable[..., Tensor]) -> AutoGuideList:
    guides = AutoGuideList(model)
    guides.append(AutoMultivariateNormal(pyro.poutine.block(model, expose=["weights"])))
    guides.append(AutoNormal(pyro.poutine.block(model, expose=["offset"])))
    return guides


GUIDES = {
    "AutoNormal": AutoNormal,
    "AutoDiagonalNormal": AutoDiagonalNormal,
    "AutoMultivariateNormal": AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": lambda model: AutoLowRankMultivariateNormal(model, rank=2),
    "AutoIAFNormal": AutoIAFNormal,
    "AutoGuideList": guide_list,
}


def fit_guide(
    guide: object, *data: Tensor, model: object = regression, **changes: object
) -> lv.fit:
    recipe = toy_recipe(
        build_guide=lambda model, *args: guide,
        objective=Trace_ELBO(4, vectorize_particles=True),
        num_epochs=250,
        batch_size=len(data[-1]),
    )
    lv.fit(model, data, recipe, progress=False)


@pytest.mark.parametrize("make", GUIDES.values(), ids=GUIDES)
def test_weights_of_shared_latents_give_the_exact_evidence(make: Callable[..., object]) -> None:
    guide = make(regression)
    fit_guide(guide, *DATA)
    evidence = lv.evidence.Importance(4096).estimate(regression, *DATA, guide=guide)
    assert evidence.unit == "data set"
    assert not evidence.verdict.unreliable.any()
    assert evidence.total_standard_error < 0.1
    assert abs(evidence.total - exact()) < 4 * evidence.total_standard_error


def test_laplace_approximation_of_a_fitted_point_is_a_proposal() -> None:
    point = AutoLaplaceApproximation(regression)
    fit_guide(point, *DATA)
    guide = point.laplace_approximation(*DATA)
    evidence = lv.evidence.Importance(4096).estimate(regression, *DATA, guide=guide)
    assert abs(evidence.total - exact()) < 4 * evidence.total_standard_error
    # The posterior is normal: all draws have nearly one weight.
    assert evidence.diagnostics["ess"] > 4000
    with pytest.raises(ValueError, match="is a Delta that always holds one value"):
        lv.evidence.Importance(64).estimate(regression, *DATA, guide=point)


def of_each(x: Tensor) -> Tensor:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_parameters_of_each_of_many_data() -> None:
    x = 2**0.5 * torch.randn(3000, generator=torch.Generator().manual_seed(1))
    exact = dist.Normal(0.0, 2**0.5).log_prob(x).double()
    guide = AutoNormal(of_each)
    recipe = toy_recipe(
        build_guide=lambda model, x: guide, objective=Trace_ELBO(), num_epochs=150, batch_size=128
    )
    with pytest.warns(WholeDataWarning, match="each update takes all 3000"):
        result = lv.fit(of_each, x, recipe, progress=False)
    assert result.metrics[-1]["loss_per_datum"] == pytest.approx(-exact.mean().item(), abs=0.05)
    importance = lv.evidence.Importance(256)
    for estimator in (importance, lv.evidence.Auto([importance]), lv.evidence.Auto()):
        evidence = estimator.estimate(of_each, x, guide=guide)
        scores = (evidence.log_evidence - exact) / evidence.standard_error.clamp(min=1e-3)
        assert scores.square().mean().sqrt() < 1.3
        assert abs(evidence.total - exact.sum().item()) < 4 * evidence.total_standard_error + 0.05


def test_pyros_objective_never_stacks_what_cannot_be_stacked() -> None:
    def unstackable(features: Tensor, y: Tensor) -> Tensor:
        weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(y)):
            loc = (weights[..., None, :] * features).sum(-1)
            return pyro.sample("y", dist.Normal(loc, NOISE), obs=y)

    guide = AutoNormal(unstackable)
    with pytest.raises(ValueError, match="Give it vectorize_particles=False"):
        fit_guide(guide, *DATA, model=unstackable)
