"""Populations along a path: adaptive steps, weights that are carried or resampled."""

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.ladder.population import Population
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.ladder.tempering import AnnealingPath, _next_gap, anneal
from lvkam_pyro.statistics.weights import effective_sample_size
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

WIDER = 1.3
"""Student's tail of 64 islands over the normal one, at the suite's rate."""


def target_of(model: Callable[[Tensor], object], x: Tensor) -> GradientTarget:
    return GradientTarget(bind(model, x))


def test_the_adaptive_step_leaves_the_wanted_share() -> None:
    log_likelihood = torch.randn(1000, 3, dtype=torch.float64) * torch.tensor([0.1, 10.0, 100.0])
    most = torch.ones(3, dtype=torch.float64)
    gap = _next_gap(log_likelihood, most, 0.8)
    assert gap[0] == 1
    share = effective_sample_size(gap * log_likelihood)[1:] / 1000
    torch.testing.assert_close(share, torch.full((2,), 0.8).double(), rtol=1e-6, atol=0)


def test_resampling_or_not_estimates_the_same_ratio() -> None:
    x = torch.tensor([1.0, 3.0])
    target = target_of(models.with_factor, x)
    path = AnnealingPath.along(target, torch.linspace(0, 1, 8).double(), 256)
    exact = models.normal_evidence(x, 2.0).double()
    for threshold in (0.0, 0.5, 1.1):
        position = target.draw_finite_prior(4096)
        draws = anneal(target, path, position, num_islands=64, num_moves=1, threshold=threshold)
        ratios = (draws.population.log_ratio - exact).exp()
        error = WIDER * ratios.std(0) / 8
        assert_within_standard_errors(ratios.mean(0), torch.ones(2).double(), error)


def test_weights_are_carried_where_nothing_is_resampled() -> None:
    """Without moves and resampling the weights are those of the prior, whatever the path."""
    x = torch.tensor([1.0])
    target = target_of(models.with_factor, x)
    path = AnnealingPath.along(target, torch.linspace(0, 1, 5).double(), 64)
    position = target.draw_finite_prior(64)
    draws = anneal(target, path, position, num_islands=8, num_moves=0, threshold=0.0)
    expected = dist.Normal(position[..., 0], 1.0).log_prob(x).double().unflatten(0, (8, -1))
    torch.testing.assert_close(draws.population.log_weights, expected, rtol=0, atol=1e-5)


def test_pooled_weights_remember_what_resampling_cashed_in() -> None:
    """The posterior of particles in several islands is the same, resampled or not."""
    x = torch.tensor([1.0, 3.0])
    target = target_of(models.with_factor, x)
    position = target.draw_finite_prior(4096)
    half, one = torch.full((2,), 0.5).double(), torch.ones(2).double()
    totals = []
    for threshold in (0.0, 1.1):
        population = Population(target, position, num_islands=64)
        population.reweight(half)
        population.resample(threshold)
        population.reweight(one)
        totals.append(population.pooled_log_weights.unflatten(0, (64, -1)).logsumexp(1).exp() / 64)
    expected = models.normal_evidence(x, 2.0).double().exp()
    for total in totals:
        error = WIDER * total.std(0) / 8
        assert_within_standard_errors(total.mean(0), expected, error)
