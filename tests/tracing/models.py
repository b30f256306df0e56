"""Hand-written Pyro models of many forms, with exact log evidence where it has a closed form."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor


class LinearGaussian:
    """x = W z + noise: log p(x) = log N(x; 0, W W' + scale^2)."""

    def __init__(self, num_latents: int, num_outputs: int, *, scale: float = 0.5) -> None:
        self.weight = torch.randn(num_outputs, num_latents)
        self.scale = scale

    def __call__(self, x: Tensor) -> None:
        prior = dist.Normal(torch.zeros(self.weight.shape[1]), 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            loc = z @ self.weight.T
            pyro.sample("x", dist.Normal(loc, self.scale).to_event(1), obs=x)

    def covariance(self) -> Tensor:
        weight = self.weight.double()
        return weight @ weight.T + self.scale**2 * torch.eye(len(weight), dtype=torch.float64)

    def exact(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(len(self.weight), dtype=torch.float64)
        return dist.MultivariateNormal(zeros, self.covariance()).log_prob(x.double())

    def sample(self, num_data: int) -> Tensor:
        z = torch.randn(num_data, self.weight.shape[1])
        return z @ self.weight.T + self.scale * torch.randn(num_data, len(self.weight))

    def posterior(self, x: Tensor) -> None:
        """The exact posterior, as a guide."""
        num_latents = self.weight.shape[1]
        precision = torch.eye(num_latents) + self.weight.T @ self.weight / self.scale**2
        loc = torch.linalg.solve(precision, self.weight.T @ x.T / self.scale**2).T
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(loc, precision_matrix=precision))


def normal_evidence(x: Tensor, variance: float) -> Tensor:
    """Log N(x; 0, variance)."""
    return dist.Normal(0.0, variance**0.5).log_prob(x)


def two_sites(x: Tensor) -> None:
    """X = a + b + noise, a and b standard normal, of which one is a vector."""
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(a + b.sum(-1), 1.0), obs=x)


def with_factor(x: Tensor) -> None:
    """The likelihood is a factor: log N(x; z, 1)."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("likelihood", dist.Normal(z, 1.0).log_prob(x))


def with_deterministic(x: Tensor) -> None:
    """A deterministic site between latent and observation."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = pyro.deterministic("loc", 2.0 * z)
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def with_inner_plate(x: Tensor) -> None:
    """Three readings of one latent each, in a plate inside the data plate."""
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("readings", 3, dim=-1):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def with_inner_latents(x: Tensor) -> None:
    """A latent for each reading, the data plate on the right of the readings' plate."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("readings", 3, dim=-2):
            e = pyro.sample("e", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.sum(-1) + e, 1.0), obs=x.T)


def with_user_scale(x: Tensor) -> None:
    """The likelihood counts twice."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.poutine.scale(scale=2.0):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def with_plate_total(x: Tensor) -> None:
    """A minibatch of a plate of 100."""
    with pyro.plate("data", 100, subsample_size=len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def with_obs_mask(x: Tensor) -> None:
    """Negative readings of the second column count as missing."""
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("columns", 2, dim=-1):
            mask = torch.stack([torch.ones(len(x)).bool(), x[:, 1] > 0], -1)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x, obs_mask=mask)


def with_covariates(x: Tensor) -> None:
    """The prior's mean is the datum's first column."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x[:, 0], 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 1])


def with_fixed_plate(x: Tensor) -> None:
    """A plate whose size does not follow the data."""
    with pyro.plate("data", 4):
        z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def with_bounds(x: Tensor) -> None:
    """A positive and a bounded latent, the bound depending on the first."""
    with pyro.plate("data", len(x)):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
        u = pyro.sample("u", dist.Uniform(-scale, scale))
        pyro.sample("x", dist.Normal(u, 1.0), obs=x)
