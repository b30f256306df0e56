"""A linear map of normal latents with normal noise, in any dimension: evidence in closed form."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.tracing.session import seeded_rng

_NUM_DATA = 4
_SCALE = 0.5


class LinearGaussian:
    r"""Factor analysis with as many outputs as latents.

    .. math:: z \sim N(0, I), \qquad x \sim N(W z, \sigma^2 I), \qquad
              p(x) = N(x; 0, W W' + \sigma^2 I)

    Args:
        weight: W, `(O, Q)` in float64.
        scale: The noise's standard deviation.

    Example:
        >>> model = LinearGaussian(torch.ones(1, 8).double(), scale=1.0)
        >>> model.log_evidence(torch.zeros(1, 1).double())  # log N(0; 0, 9)
        tensor([-2.0176], dtype=torch.float64)
    """

    def __init__(self, weight: Tensor, *, scale: float = _SCALE) -> None:
        self.weight = weight
        self.scale = scale

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, O)."""
        with pyro.plate("data", len(x)):
            prior = dist.Normal(self.weight.new_zeros(self.weight.shape[1]), 1.0).to_event(1)
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z @ self.weight.T, self.scale).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        covariance = self.weight @ self.weight.T
        covariance = covariance + self.scale**2 * torch.eye(len(covariance)).to(covariance)
        return normal_log_prob(x, x.new_zeros(x.shape[1]), covariance)


def normal_log_prob(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """The log density of a multivariate normal law.

    Args:
        x: Points, `(N, O)`.
        mean: Of shape `(*batch, O)`.
        covariance: Of shape `(*batch, O, O)`.

    Returns:
        Log densities, `(N, *batch)`.

    Example:
        >>> normal_log_prob(torch.zeros(2, 1), torch.zeros(3, 1), torch.ones(3, 1, 1)).shape
        torch.Size([2, 3])
    """
    law = dist.MultivariateNormal(mean, covariance)
    log_prob: Tensor = law.log_prob(x[(slice(None), *[None] * (mean.ndim - 1))])
    return log_prob


def linear_gaussian(num_latents: int, *, seed: int = 0) -> Problem:
    """The problem in so many dimensions.

    Args:
        num_latents: Q, as many as outputs.
        seed: Of the linear map and the data.

    Example:
        >>> linear_gaussian(3).log_evidence.shape
        torch.Size([4])
    """
    with seeded_rng(seed, torch.empty(0)):
        weight = torch.randn(num_latents, num_latents, dtype=torch.float64) / num_latents**0.5
        model = LinearGaussian(weight)
        z = torch.randn(_NUM_DATA, num_latents, dtype=torch.float64)
        x = z @ weight.T + _SCALE * torch.randn_like(z)
    return Problem(
        name=f"linear_gaussian_{num_latents}",
        title=f"linear Gaussian, {num_latents}-D",
        model=model,
        x=x,
        log_evidence=model.log_evidence(x),
        num_latents=num_latents,
        source="closed form",
    )
