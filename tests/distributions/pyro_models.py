"""One latent a datum with a density as its prior, another as its guide: everything is a 1-D sum."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.distributions.univariate import UnivariateDensity
from tests.distributions.densities import DENSITIES, integration_bounds

OBSERVED = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
NOISE = 0.3
NUM_POINTS = 20_001
QUADRATURE = 1e-6
"""Error of the trapezoidal rule on these points, with room: its square step is 1e-6 at most."""

OWN_SHAPES: dict[str, tuple[int, ...]] = {
    "tilted uniform": (),
    "wave on normal": (),
    "wave on lognormal": (),
    "spline": (11,),
    "spline on normal": (11,),
    "mixture": (4,),
    "spline mixture": (4, 11),
}
"""The densities of the table under Pyro's algorithms, and the shape of one density's parameters."""


def parameters(name: str, batch: tuple[int, ...] = (), *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, *OWN_SHAPES[name])
    return (0.5 * torch.randn(shape, dtype=torch.float64, generator=generator)).requires_grad_()


def density(name: str, theta: Tensor) -> UnivariateDensity:
    return DENSITIES[name][0](theta)


def model(name: str, theta: Tensor, x: Tensor = OBSERVED) -> Tensor:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", density(name, theta))
        pyro.sample("x", dist.Normal(z, NOISE), obs=x)
    return z


def guide(name: str, phi: Tensor, x: Tensor = OBSERVED) -> Tensor:
    """A density with parameters `(N, *own)` of its own for each datum."""
    with pyro.plate("data", len(x)):
        return pyro.sample("z", density(name, phi))


def grid(prior: UnivariateDensity) -> Tensor:
    """Equally spaced points, just inside the support, of shape `(NUM_POINTS, 1)`."""
    low, high = integration_bounds(prior)
    z = torch.linspace(low, high, NUM_POINTS, dtype=torch.float64)
    return z.clamp(low + 1e-12, high - 1e-12)[:, None]


def log_joint(name: str, theta: Tensor, z: Tensor) -> Tensor:
    return density(name, theta).log_prob(z) + dist.Normal(z, NOISE).log_prob(OBSERVED)


def exact_elbo(name: str, theta: Tensor, phi: Tensor) -> Tensor:
    """The evidence lower bound of the guide, by the trapezoidal rule; differentiable."""
    z = grid(density(name, theta))
    log_guide = density(name, phi).log_prob(z)
    integrand = log_guide.exp() * (log_joint(name, theta, z) - log_guide)
    return torch.trapezoid(integrand, z, dim=0).sum()


def exact_posterior(name: str, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log evidence, mean and variance of the latent, per datum."""
    z = grid(density(name, theta))
    joint = log_joint(name, theta, z).exp()
    evidence = torch.trapezoid(joint, z, dim=0)
    mean = torch.trapezoid(joint * z, z, dim=0) / evidence
    variance = torch.trapezoid(joint * (z - mean).square(), z, dim=0) / evidence
    return evidence.log(), mean, variance
