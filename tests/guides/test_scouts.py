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
from lvkam_pyro.problems.families.modes import FLAT, Modes, bumps
from tests.assertions import assert_within_standard_errors

GAIN = 4.0
WIDER = 1.6


def spike(scale: float, num_latents: int) -> Tensor:
    """Three data of a plateau, and a normal peak which holds exp(GAIN) - 1 times as much."""
    centres = torch.stack([torch.zeros(num_latents), torch.ones(num_latents)]).double()
    return bumps([[1.0, math.expm1(GAIN)]], [[FLAT, scale]], centres.expand(3, 2, -1))


@pytest.mark.parametrize(("scale", "num_latents"), [(0.01, 2), (0.05, 3), (0.1, 5)])
def test_a_spike_beside_a_plateau_counts(scale: float, num_latents: int) -> None:
    model, x = Modes(), spike(scale, num_latents)
    evidence = lv.evidence.MixtureImportance().estimate(model, x, seed=1)
    assert evidence.verdict.reliable, str(evidence)
    error = WIDER * evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, model.log_evidence(x), error)
    assert bool((error < 0.1).all())


def folded(x: Tensor) -> None:
    """Two modes, of which only the sign of the first latent is unknown."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z[..., 0].abs(), 0.2), obs=x)


def test_what_scouts_add_is_a_density_where_the_mixture_has_none() -> None:
    target = GradientTarget(lv.bind(folded, torch.ones(2)))
    draws = torch.tensor([1.0, 0.0]) + torch.tensor([0.2, 1.0]) * torch.randn(256, 2, 2)
    log_joint = target.log_joint(draws)
    mixture = fit_mixture(draws, torch.zeros(256, 2), torch.arange(256) < 128)
    with target.program.session(seed=0):
        richer = with_scouts(target, mixture, [(draws, log_joint, log_joint)])
        sample = richer.sample(torch.Size([20_000]))
    weights = (mixture.log_prob(sample) - richer.log_prob(sample)).exp()
    error = weights.std(0) / 20_000**0.5
    assert_within_standard_errors(weights.mean(0), torch.ones(2).double(), error)
    share = (sample[..., 0] < 0).double().mean(0)
    assert bool((share > 0.05).all())


def test_scouts_add_nothing_to_a_mixture_that_is_right() -> None:
    target = GradientTarget(lv.bind(folded, torch.ones(2)))
    draws = torch.tensor([1.0, 0.0]) + torch.tensor([0.2, 1.0]) * torch.randn(512, 2, 2)
    draws[::2, :, 0] *= -1
    log_joint = target.log_joint(draws)
    mixture = fit_mixture(draws, torch.zeros(512, 2), torch.arange(512) < 256)
    with target.program.session(seed=0):
        richer = with_scouts(target, mixture, [(draws, log_joint, log_joint)])
    torch.testing.assert_close(richer.log_prob(draws.double()), mixture.log_prob(draws.double()))


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
