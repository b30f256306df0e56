"""Draws of the Gibbs guide against exact posteriors."""

import math

import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.guides.grid_gibbs_guide import NodeChains
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_within_standard_errors
from tests.ladder.chains import chain, draw_data, exact_log_evidence
from tests.tracing import models


def test_weights_are_equal_and_their_mean_is_unbiased() -> None:
    model = chain(5)
    x = draw_data(model, 4)
    guide = lv.guides.GridGibbsGuide(model, num_nodes=256)
    with torch.no_grad():
        runs = [lv.draw_particles(model, guide, x, num_particles=8).log_weights for _ in range(64)]
    log_weights = torch.stack(runs)
    # What is left is the slope of the density inside the nodes' cells.
    assert log_weights.std(1).mean() < 0.3
    ratio = (log_weights.logsumexp(1) - math.log(8) - exact_log_evidence(model, x)).exp()
    error = ratio.std(0) / len(ratio) ** 0.5
    assert_within_standard_errors(ratio.mean(0), torch.ones(4).double(), error)


def posterior_of(model: models.LinearGaussian, x: Tensor) -> tuple[Tensor, Tensor]:
    """Means `(N, Q)` and covariance `(Q, Q)`."""
    weight = model.weight.double()
    precision = torch.eye(weight.shape[1]).double() + weight.T @ weight / model.scale**2
    covariance = torch.linalg.inv(precision)
    return x.double() @ weight @ covariance / model.scale**2, covariance


def assert_moments(draws: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Independent draws `(D, N, Q)` have the mean and the variances, but for the nodes' width."""
    root = len(draws) ** 0.5
    assert_within_standard_errors(draws.mean(0), mean, draws.std(0) / root, extra=2e-3)
    squares = (draws - mean).square()
    variance = covariance.diagonal().expand_as(mean)
    assert_within_standard_errors(squares.mean(0), variance, squares.std(0) / root, extra=2e-3)


def test_draws_have_the_posteriors_moments() -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(2)
    guide = lv.guides.GridGibbsGuide(model)
    with torch.no_grad():
        draws = lv.draw_particles(model, guide, x, num_particles=4000).latents["z"].double()
    assert_moments(draws, *posterior_of(model, x))


def test_sweeps_reach_the_posterior_from_anywhere() -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(2)
    tables = AdditiveTables.of(AdditiveModel.of(bind(model, x)))
    chains = NodeChains(tables, bind(model, x), 1)
    nodes = torch.zeros(2000, 2, 2, dtype=torch.long)
    log_density = chains.sweep(nodes, 60)
    torch.testing.assert_close(log_density, chains.sweep(nodes, 0))
    assert_moments(tables.position(nodes).double(), *posterior_of(model, x))


def test_the_recipes_gradient_is_fishers() -> None:
    """Of a mean: the exact gradient is the posterior's mean residual over the variance."""
    model = chain(3)
    x = draw_data(model, 6)
    parameter = model.generator.layers[0].coefficients

    def gradients(guide: object, num_particles: int) -> Tensor:
        objective = lv.EmpiricalBayes(num_particles)(model, guide)
        return torch.autograd.grad(objective(x), parameter)[0].flatten()

    ours = torch.stack([gradients(lv.guides.GridGibbsGuide(model), 64) for _ in range(24)])
    other = torch.stack([gradients(lv.guides.LookaheadGuide(model), 512) for _ in range(24)])
    error = ((ours.var(0) + other.var(0)) / 24).sqrt()
    # Self-normalised weights are biased by one part in the number of particles.
    extra = other.mean(0).abs() / 64
    assert_within_standard_errors(ours.mean(0), other.mean(0), error + 1e-6, extra=extra)


@pytest.mark.parametrize("name", ["num_particles", "num_sweeps", "num_nodes"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        lv.guides.GridGibbsGuide(chain(2), **{name: 0})


def test_other_models_are_refused() -> None:
    likelihood = lv.BernoulliLikelihood(3)
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), likelihood)
    with pytest.raises(ValueError, match="normal noise"):
        lv.draw_particles(model, lv.guides.GridGibbsGuide(model), torch.ones(5, 3), num_particles=4)
