"""A funnel and a banana, whose posteriors are no ellipses: evidence by quadrature on a line."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.statistics.quadrature import composite_gauss_legendre
from lvkam_pyro.tracing.session import seeded_rng

_NUM_DATA = 4
_NUM_NODES = 400
_NUM_SLOPES = 9
_FUNNEL_PRIOR, _FUNNEL_NOISE = 2.0, 0.5
_BANANA_PRIOR, _BANANA_NOISE = 2.0, 0.1


class Funnel:
    r"""Nine effects of a common unknown size (Neal 2003, https://doi.org/10.1214/aos/1056562461).

    .. math:: v \sim N(0, 2^2), \qquad z_i \sim N(0, e^v), \qquad x_i \sim N(z_i, 0.5^2), \qquad
              p(x) = \int N(v; 0, 2^2) \prod_{i=1}^{9} N(x_i; 0, e^v + 0.5^2) \, dv

    Example:
        >>> Funnel().log_evidence(torch.zeros(1, 9).double()).shape
        torch.Size([1])
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, 9)."""
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Normal(x.new_zeros(()), _FUNNEL_PRIOR))
            scale = (v / 2).exp()[..., None]
            prior = dist.Normal(x.new_zeros(_NUM_SLOPES), scale.expand(*v.shape, _NUM_SLOPES))
            z = pyro.sample("z", prior.to_event(1))
            pyro.sample("x", dist.Normal(z, _FUNNEL_NOISE).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        v, log_masses = _normal_nodes(_FUNNEL_PRIOR)
        scale = (v.exp() + _FUNNEL_NOISE**2).sqrt()
        log_likelihood = dist.Normal(0.0, scale).log_prob(x.double()[..., None]).sum(1)
        return (log_masses + log_likelihood).logsumexp(-1)


class Banana:
    r"""One noisy equation for two unknowns: the posterior lies along a parabola.

    .. math:: z_1, z_2 \sim N(0, 2^2), \qquad x \sim N(z_2 - z_1^2, 0.1^2), \qquad
              p(x) = \int N(z_1; 0, 2^2) \, N(x; -z_1^2, 2^2 + 0.1^2) \, dz_1

    Example:
        >>> Banana().log_evidence(torch.zeros(1).double()).shape
        torch.Size([1])
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N,)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), _BANANA_PRIOR).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 1] - z[..., 0] ** 2, _BANANA_NOISE), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        z, log_masses = _normal_nodes(_BANANA_PRIOR)
        scale = math.hypot(_BANANA_PRIOR, _BANANA_NOISE)
        log_likelihood = dist.Normal(-z.square(), scale).log_prob(x.double()[:, None])
        return (log_masses + log_likelihood).logsumexp(-1)


def _normal_nodes(scale: float) -> tuple[Tensor, Tensor]:
    """Nodes over twelve standard deviations each way, and the logarithms of their masses."""
    ends = torch.tensor([-12 * scale, 12 * scale], dtype=torch.float64)
    nodes, weights = composite_gauss_legendre(ends, _NUM_NODES)
    return nodes, weights.log() + dist.Normal(0.0, scale).log_prob(nodes)


def funnel(*, seed: int = 0) -> Problem:
    """The funnel, with effects of four sizes.

    Args:
        seed: Of the data.

    Example:
        >>> funnel().x.shape
        torch.Size([4, 9])
    """
    with seeded_rng(seed, torch.empty(0)):
        z = torch.randn(_NUM_DATA, _NUM_SLOPES, dtype=torch.float64)
        size = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=torch.float64)
        x = size[:, None] * z + _FUNNEL_NOISE * torch.randn_like(z)
    model = Funnel()
    return Problem(
        name="funnel",
        title="funnel, 10-D",
        model=model,
        x=x,
        log_evidence=model.log_evidence(x),
        num_latents=1 + _NUM_SLOPES,
        source="quadrature over the size",
    )


def banana() -> Problem:
    """The banana, at four data.

    Example:
        >>> banana().x
        tensor([-6., -2.,  0.,  2.], dtype=torch.float64)
    """
    model, x = Banana(), torch.tensor([-6.0, -2.0, 0.0, 2.0], dtype=torch.float64)
    return Problem(
        name="banana",
        title="banana, 2-D",
        model=model,
        x=x,
        log_evidence=model.log_evidence(x),
        num_latents=2,
        source="quadrature over one latent",
    )
