"""Scouts: modes that a population loses are found by what it has passed and the prior has shown."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.guides.scouts import MAX_COORDINATES, with_scouts
from lvkam_pyro.ladder.mixture_fit import fit_mixture
from lvkam_pyro.ladder.target import GradientTarget
from tests.assertions import assert_within_standard_errors

GAIN = 4.0
WIDER = 1.6


class Spike:
    """A flat likelihood but for a normal peak, which holds exp(gain) - 1 times as much."""

    def __init__(self, scale: float, num_latents: int) -> None:
        self.scale, self.num_latents = scale, num_latents
        marginal = dist.Normal(0.0, math.hypot(1.0, scale)).log_prob(torch.tensor(1.0))
        self.height = math.log(math.expm1(GAIN)) - num_latents * float(marginal)

    def __call__(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.num_latents), 1.0).to_event(1))
            peak = self.height + dist.Normal(1.0, self.scale).log_prob(z).sum(-1)
            pyro.factor("likelihood", torch.logaddexp(torch.zeros_like(peak), peak) + 0.0 * x)


@pytest.mark.parametrize(("scale", "num_latents"), [(0.01, 2), (0.05, 3), (0.1, 5)])
def test_a_spike_beside_a_plateau_counts(scale: float, num_latents: int) -> None:
    x = torch.zeros(3, dtype=torch.float64)
    evidence = lv.evidence.MixtureImportance().estimate(Spike(scale, num_latents), x, seed=1)
    assert evidence.verdict.reliable, str(evidence)
    error = WIDER * evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, torch.full((3,), GAIN).double(), error)
    assert bool((error < 0.1).all())


def test_scouts_leave_a_density() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 0.5), obs=x)

    target = GradientTarget(lv.bind(model, torch.zeros(2)))
    draws = torch.randn(256, 2, 2)
    mixture = fit_mixture(draws, torch.zeros(256, 2), torch.arange(256) < 128)
    with target.program.session(seed=0):
        richer = with_scouts(target, mixture, [(draws, *torch.zeros(2, 256, 2).double())])
        sample = richer.sample(torch.Size([20_000]))
    weights = (mixture.log_prob(sample) - richer.log_prob(sample)).exp()
    error = weights.std(0) / 20_000**0.5
    assert_within_standard_errors(weights.mean(0), torch.ones(2).double(), error)


def test_many_coordinates_are_left_alone() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            zeros = torch.zeros(MAX_COORDINATES + 1)
            z = pyro.sample("z", dist.Normal(zeros, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    target = GradientTarget(lv.bind(model, torch.zeros(1)))
    draws = torch.randn(64, 1, MAX_COORDINATES + 1)
    mixture = fit_mixture(draws, torch.zeros(64, 1), torch.arange(64) < 32)
    assert with_scouts(target, mixture, []) is mixture
