"""Latents with borders, and likelihoods that are nothing almost everywhere."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from lvkam_pyro.problems.families.pieces import (
    NUM_DATA,
    Product,
    directions,
    log_integer,
    log_uniform,
    panels,
    rotation,
    simulate,
)
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.problem import Answered
from lvkam_pyro.tracing.arguments import Program


def _conjugate(
    prior: Callable[[Tensor], TorchDistribution],
    likelihood: Callable[[Tensor], TorchDistribution],
    marginal: TorchDistribution,
    blank: Tensor,
) -> Answered:
    """Independent latents whose outputs have a known marginal distribution."""
    model = Product(prior, likelihood)
    x = simulate(model, blank)
    return model, x, marginal.log_prob(x).sum(-1)


def _blank(*shape: int) -> Tensor:
    return torch.zeros(NUM_DATA, *shape, dtype=torch.float64)


def _gamma_poisson() -> Answered:
    """Rates that may be next to zero."""
    a, b = (log_uniform(0.2, 5.0) for _ in range(2))
    return _conjugate(
        lambda zeros: dist.Gamma(zeros + a.to(zeros), b.to(zeros)),
        lambda y: dist.Poisson(y),
        dist.GammaPoisson(a, b),
        _blank(log_integer(1, 10)),
    )


def _beta_binomial() -> Answered:
    """Shares at the ends of the unit interval."""
    a, b = (log_uniform(0.3, 3.0) for _ in range(2))
    count = torch.tensor(float(log_integer(5, 500)), dtype=torch.float64)
    return _conjugate(
        lambda zeros: dist.Beta(zeros + a.to(zeros), b.to(zeros)),
        lambda y: dist.Binomial(count.to(y), y),
        dist.BetaBinomial(a, b, count),
        _blank(log_integer(1, 10)),
    )


def _simplex() -> Answered:
    """Shares of three to eight kinds, some nearly absent."""
    size, total = log_integer(3, 8), log_integer(10, 300)
    concentration = log_uniform(0.3, 3.0, size)

    def model(x: Tensor) -> None:
        prior = dist.Dirichlet(concentration.to(x))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Multinomial(total, z), obs=x)

    x = simulate(model, _blank(size))
    return model, x, dist.DirichletMultinomial(concentration, total).log_prob(x)


def _corner() -> Answered:
    """Uniform latents, and data at the corners of their cube or outside of it."""
    scale, shape = float(log_uniform(0.02, 0.5)), (NUM_DATA, log_integer(1, 10))
    model = Product(
        lambda zeros: dist.Uniform(zeros, zeros + 1.0),
        lambda y: dist.Normal(y, scale),
        panels(0.0, 1.0),
    )
    corner = torch.randint(2, shape) + scale * torch.randn(shape, dtype=torch.float64)
    x = torch.where(torch.rand(shape) < 0.5, corner, torch.rand(shape, dtype=torch.float64))
    return model, x, model.log_evidence(x)


def _scales() -> Answered:
    """Standard deviations, each behind five points."""
    model = Product(
        lambda zeros: dist.LogNormal(zeros, 1.5),
        lambda y: dist.Normal(0.0 * y[..., None], y[..., None].expand(*y.shape, 5)).to_event(1),
        panels(-11.0, 8.0).exp(),
    )
    x = simulate(model, _blank(log_integer(1, 6), 5))
    x = x * (10 / x.norm(dim=-1, keepdim=True)).clamp(max=1.0)
    return model, x, model.log_evidence(x)


def _half_normal() -> Answered:
    """Latents pressed against zero by data on either side of it."""
    scale = float(log_uniform(0.03, 1.0))
    model = Product(
        lambda zeros: dist.HalfNormal(zeros + 1.0),
        lambda y: dist.Laplace(y, scale),
        panels(0.0, 9.0),
    )
    x = simulate(model, _blank(log_integer(1, 12))) - 0.5
    return model, x, model.log_evidence(x)


def _window() -> Answered:
    """Nothing but a turned box is possible, which holds little of the prior."""
    size = log_integer(2, 6)
    turn = rotation(size)
    half = log_uniform(0.1, 0.8, NUM_DATA)[:, None]
    x = torch.stack([0.5 * torch.randn(NUM_DATA, size).double(), half.expand(-1, size)], -1)
    upper, lower = (dist.Normal(0.0, 1.0).cdf(x[..., 0] + sign * x[..., 1]) for sign in (1, -1))
    return _box(turn), x, (upper - lower).log().sum(-1)


def _box(turn: Tensor) -> Program:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(turn)), 1.0).to_event(1))
            far = ((z @ turn.to(x).T - x[..., 0]).abs() > x[..., 1]).any(-1)
            pyro.factor("likelihood", torch.zeros_like(z[..., 0]).masked_fill(far, -torch.inf))

    return model


def _half_space() -> Answered:
    """A datum is the direction of a plane that cuts all but 1e-1 to 1e-5 of the prior off."""
    direction = directions(NUM_DATA, log_integer(2, 15))
    distance = 1.3 + 3 * torch.rand(NUM_DATA, 1, dtype=torch.float64)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(x.shape[1] - 1), 1.0).to_event(1))
            far = (z * x[:, 1:]).sum(-1) < x[:, 0]
            pyro.factor("likelihood", torch.zeros_like(z[..., 0]).masked_fill(far, -torch.inf))

    x = torch.cat([distance, direction], 1)
    return model, x, torch.special.log_ndtr(-distance[:, 0])


FAMILIES = (
    Family("gamma_poisson", "gamma latents of counts", Half.REPORTING, _gamma_poisson),
    Family("beta_binomial", "beta latents of trials", Half.CHOOSING, _beta_binomial),
    Family("simplex", "a Dirichlet latent", Half.REPORTING, _simplex),
    Family("corner", "uniform latents at a corner", Half.CHOOSING, _corner, "quadratures"),
    Family("scales", "log-normal scales", Half.REPORTING, _scales, "quadratures"),
    Family("half_normal", "half-normal latents", Half.CHOOSING, _half_normal, "quadratures"),
    Family("window", "a box of the prior alone, 2-D to 6-D", Half.REPORTING, _window),
    Family("half_space", "a far half-space of the prior alone", Half.CHOOSING, _half_space),
)
