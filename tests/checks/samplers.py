"""Pyro's own inference on models whose posteriors are known exactly, without its cost."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor


def mean_model(x: Tensor, scale: float = 1.0) -> None:
    """One mean for all groups and data: a latent without a plate, nested plates, a computed one."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    pyro.deterministic("double", 2 * mean)
    with pyro.plate("group", x.shape[0], dim=-2):
        shift = pyro.sample("shift", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        centre = pyro.deterministic("centre", mean + shift.sum(-1))
        with pyro.plate("person", x.shape[1], dim=-1):
            pyro.sample("x", dist.Normal(centre, scale), obs=x)


def normal_mean(x: Tensor) -> None:
    """The mean of normal data: the simplest posterior there is."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x)


def draw_mean(x: Tensor, *shape: int) -> Tensor:
    """Exact draws of its posterior."""
    return dist.Normal(x.sum() / (len(x) + 1), (len(x) + 1) ** -0.5).sample(shape)


def normal_mean_guide(x: Tensor) -> None:
    """Its posterior as a guide."""
    pyro.sample("mean", dist.Normal(x.sum() / (len(x) + 1), (len(x) + 1) ** -0.5))


def without_a_further_axis(x: Tensor) -> None:
    """The same as `normal_mean` of one datum, in a way that no further axis goes through."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean.item(), 1.0), obs=x)


def indexes_from_the_left(x: Tensor) -> None:
    """Runs with a further axis, but takes the wrong one: `weights[0]` is a draw, not a weight."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(weights[0] + 0 * x, 1.0), obs=x)


def mixture(x: Tensor) -> None:
    """A discrete latent that a sampler sums out."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        pyro.sample("x", dist.Normal(mean + kind, 1.0), obs=x)


def sampled(
    model: Callable[..., object],
    samples: Mapping[str, Tensor],
    *args: object,
    divergences: Mapping[int, list[int]] | None = None,
    **kwargs: Any,
) -> MCMC:
    """An MCMC as after `run`, with these samples `(C, D, *shape)`."""
    num_chains, num_samples = next(iter(samples.values())).shape[:2]
    mcmc = MCMC(NUTS(model), num_samples=num_samples, disable_progbar=True)
    mcmc.num_chains = num_chains
    mcmc._samples, mcmc._args, mcmc._kwargs = dict(samples), args, kwargs
    found = divergences or {}
    mcmc._diagnostics = [
        {"divergences": found.get(chain, []), "acceptance rate": 0.9} for chain in range(num_chains)
    ]
    return mcmc
