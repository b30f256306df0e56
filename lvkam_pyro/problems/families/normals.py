"""Normal latents behind linear maps, and latents with peaks: evidence in closed form."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.families.pieces import (
    NUM_DATA,
    log_integer,
    log_uniform,
    rotation,
    simulate,
)
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.linear import LinearGaussian, MixedLinear, normal_log_prob
from lvkam_pyro.problems.problem import Answered


class Correlated:
    r"""A normal likelihood of any covariance, as a factor: no estimator sees that it is linear.

    .. math:: z \sim N(0, v^2 I), \qquad L_n(z) = N(x_n; z, C), \qquad p_n = N(x_n; 0, C + v^2 I)

    Args:
        covariance: C, `(Q, Q)` in float64.
        prior: The latents' standard deviation v.

    Example:
        >>> Correlated(torch.eye(2).double()).log_evidence(torch.zeros(1, 2).double())
        tensor([-2.5310], dtype=torch.float64)
    """

    def __init__(self, covariance: Tensor, prior: float = 1.0) -> None:
        self.covariance = covariance
        self.prior = prior

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, Q)."""
        root = torch.linalg.cholesky(self.covariance).to(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(root)), self.prior).to_event(1))
            likelihood = dist.MultivariateNormal(z, scale_tril=root)
            pyro.factor("likelihood", likelihood.log_prob(x))

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log evidence, `(N,)`."""
        covariance = self.covariance + self.prior**2 * torch.eye(x.shape[1]).to(x)
        return normal_log_prob(x, x.new_zeros(x.shape[1]), covariance)


def _linear(num_outputs: int, num_latents: int, scale: float, first: float = 1.0) -> Answered:
    """A random map; the first datum is as many times as large as it was drawn."""
    weight = torch.randn(num_outputs, num_latents, dtype=torch.float64) / num_latents**0.5
    model = LinearGaussian(weight, scale=scale)
    x = simulate(model, torch.zeros(NUM_DATA, num_outputs, dtype=torch.float64))
    x[0] *= first
    return model, x, model.log_evidence(x)


def _sharp_linear() -> Answered:
    """As many outputs as latents, noise from a hundredth of the signal to all of it."""
    size = log_integer(1, 50)
    return _linear(size, size, float(log_uniform(0.01, 1.0)))


def _thin() -> Answered:
    """Fewer outputs than latents: the posterior is thin in some directions, wide in others."""
    return _linear(log_integer(1, 4), log_integer(6, 20), float(log_uniform(0.01, 0.3)))


def _correlated() -> Answered:
    """Standard deviations from 0.01 to 1 along random axes."""
    size = log_integer(3, 12)
    turn, scales = rotation(size), log_uniform(0.01, 1.0, size)
    model = Correlated((turn * scales.square()) @ turn.T)
    x = torch.randn(NUM_DATA, size, dtype=torch.float64)
    return model, x, model.log_evidence(x)


def _vague_prior() -> Answered:
    """A thousand times wider than the noise, in each direction."""
    size = log_integer(1, 6)
    turn, scales = rotation(size), log_uniform(0.5, 5.0, size)
    model = Correlated((turn * scales.square()) @ turn.T, 1000.0)
    x = 1000 * torch.randn(NUM_DATA, size, dtype=torch.float64)
    return model, x, model.log_evidence(x)


def _outlier() -> Answered:
    """A datum times 20, under five latents and small noise."""
    return _linear(log_integer(5, 20), 5, 0.1, first=20.0)


def _split_latents() -> Answered:
    """Latents with two sharp peaks each behind a map with little noise: modes by the hundred."""
    weight = torch.randn(8, 8, dtype=torch.float64) / 8**0.5
    model = MixedLinear(weight, noise=float(log_uniform(0.05, 0.5)), scales=(0.1, 0.15))
    x = simulate(model, torch.zeros(NUM_DATA, 8, dtype=torch.float64))
    return model, x, model.log_evidence(x)


FAMILIES = (
    Family("sharp_linear", "linear Gaussian, 1-D to 50-D", Half.REPORTING, _sharp_linear),
    Family("thin", "linear Gaussian of few outputs", Half.CHOOSING, _thin),
    Family("correlated", "one mode of any covariance", Half.REPORTING, _correlated),
    Family("vague_prior", "a prior of standard deviation 1000", Half.CHOOSING, _vague_prior),
    Family("outlier", "linear Gaussian with one datum times 20", Half.REPORTING, _outlier),
    Family(
        "split_latents",
        "latents with two sharp peaks, 8-D",
        Half.CHOOSING,
        _split_latents,
        "sum over 256 components",
    ),
)
