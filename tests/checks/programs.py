"""Pyro programs with known posteriors, and one of each shape that a model can have."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

Program = Callable[[Tensor], object]

NUM_LATENTS, NUM_OUTPUTS, SCALE = 2, 4, 0.5
LOADINGS = torch.tensor([[1.0, -0.5, 0.3, 0.8], [0.2, 1.1, -0.7, 0.4]])
PRECISION = torch.eye(NUM_LATENTS) + LOADINGS @ LOADINGS.T / SCALE**2
POSTERIOR_COVARIANCE = torch.linalg.inv(PRECISION)


def linear_gaussian(x: Tensor) -> None:
    """X = Wz + noise, whose posterior and evidence are normal."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(NUM_LATENTS), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ LOADINGS, SCALE).to_event(1), obs=x)


def draw_data(num_data: int) -> Tensor:
    """Data of the linear Gaussian program."""
    z = torch.randn(num_data, NUM_LATENTS)
    return z @ LOADINGS + SCALE * torch.randn(num_data, NUM_OUTPUTS)


def posterior_mean(x: Tensor) -> Tensor:
    """The exact posterior mean, `(N, 2)`."""
    return x @ LOADINGS.T @ POSTERIOR_COVARIANCE / SCALE**2


def exact_log_evidence(x: Tensor) -> Tensor:
    """Log p(x), `(N,)`."""
    covariance = LOADINGS.T @ LOADINGS + SCALE**2 * torch.eye(NUM_OUTPUTS)
    return dist.MultivariateNormal(torch.zeros(NUM_OUTPUTS), covariance).log_prob(x)


def wide_guide(x: Tensor) -> None:
    """Twice the posterior's covariance around a shifted mean: weights that matter."""
    loc, covariance = posterior_mean(x) + 0.1, 2 * POSTERIOR_COVARIANCE
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.MultivariateNormal(loc, covariance))


def exact_guide(x: Tensor) -> None:
    """The posterior itself: equal weights."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.MultivariateNormal(posterior_mean(x), POSTERIOR_COVARIANCE))


def two_latents(x: Tensor) -> None:
    """Two latent sites, a factor, a deterministic site and a plate of another name."""
    with pyro.plate("people", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        w = pyro.sample("w", dist.Gamma(2.0, 2.0))
        loc = pyro.deterministic("loc", z.sum(-1) * w)
        pyro.factor("damping", -0.01 * loc.square())
        pyro.sample("y", dist.Bernoulli(logits=loc), obs=x)


def inner_plate(x: Tensor) -> None:
    """A plate of repeated measurements inside the data plate."""
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("repeat", x.shape[1], dim=-1):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + u, 1.0), obs=x)


def two_observations(x: Tensor) -> None:
    """Two observed sites of different kinds."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])
        pyro.sample("c", dist.Poisson(z.exp()), obs=x[:, 1].abs().round())


def only_a_factor(x: Tensor) -> None:
    """A likelihood without an observed site."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("fit", -0.5 * (x - z).square())
