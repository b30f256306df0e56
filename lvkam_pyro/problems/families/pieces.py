"""What families are made of: parameters at random, nodes, products of 1-D pieces."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from lvkam_pyro.statistics.quadrature import composite_gauss_legendre
from lvkam_pyro.tracing.arguments import Program

NUM_DATA = 8
STANDARD = (-9.0, 9.0)
"""Where a standard normal latent is integrated over: 1e-18 of it lies outside."""


def log_uniform(low: float, high: float, *shape: int) -> Tensor:
    """Draws whose logarithms are uniform, in float64, by torch's global generator.

    Example:
        >>> log_uniform(0.1, 10.0, 3).shape
        torch.Size([3])
    """
    return low * (high / low) ** torch.rand(shape, dtype=torch.float64)


def log_integer(low: int, high: int) -> int:
    """A whole number, small ones more often than large ones.

    Example:
        >>> 2 <= log_integer(2, 50) <= 50
        True
    """
    return round(float(log_uniform(low, high)))


def directions(*shape: int) -> Tensor:
    """Unit vectors in float64, uniform on the sphere.

    Example:
        >>> directions(3, 5).norm(dim=-1)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    return torch.nn.functional.normalize(torch.randn(shape, dtype=torch.float64), dim=-1)


def rotation(size: int) -> Tensor:
    """An orthogonal matrix in float64.

    Example:
        >>> turn = rotation(3)
        >>> torch.allclose(turn @ turn.T, torch.eye(3).double())
        True
    """
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q


def nodes_between(low: float, high: float, num_panels: int = 2000) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes, four a panel, and the logarithms of their weights.

    Example:
        >>> nodes, log_weights = nodes_between(0.0, 2.0)
        >>> float(log_weights.exp() @ nodes.square())  # 8 / 3
        2.6666...
    """
    edges = torch.linspace(low, high, num_panels + 1, dtype=torch.float64)
    nodes, weights = composite_gauss_legendre(edges, 4)
    return nodes, weights.log()


def simulate(model: Program, blank: Tensor) -> Tensor:
    """Data of a model, drawn by torch's global generator.

    Args:
        model: A program whose observed site is called x.
        blank: Anything of the data's shape.

    Example:
        >>> model = Product(lambda zeros: dist.Normal(zeros, 1.0), lambda y: dist.Normal(y, 0.1))
        >>> simulate(model, torch.zeros(8, 3)).shape
        torch.Size([8, 3])
    """
    trace = pyro.poutine.trace(pyro.poutine.uncondition(model)).get_trace(blank)
    x: Tensor = trace.nodes["x"]["value"]
    return x.detach()


class Product:
    r"""Independent latents, rotated on demand, each of which has outputs of its own.

    .. math:: z \sim \prod_q \pi(z_q), \quad y = R z, \quad x_q \sim p(x_q | y_q), \qquad
              p(x) = \prod_q \int \pi(y_q) \, p(x_q | y_q) \, dy_q

    A rotation leaves the prior and so the evidence as they are if the prior is standard normal,
    and hides from every estimator that the posterior is a product.

    Args:
        prior: From zeros `(Q,)`, which have dtype and device, the prior of each latent.
        likelihood: From y, the distribution of each output.
        support: Ends of the integral over a latent.
        rotation: R, `(Q, Q)`; None: the latents themselves.

    Example:
        >>> model = Product(lambda zeros: dist.Normal(zeros, 1.0), lambda y: dist.Normal(y, 1.0))
        >>> model.log_evidence(torch.zeros(1, 2).double())  # 2 log N(0; 0, 2)
        tensor([-2.5310], dtype=torch.float64)
    """

    def __init__(
        self,
        prior: Callable[[Tensor], TorchDistribution],
        likelihood: Callable[[Tensor], TorchDistribution],
        support: tuple[float, float] = STANDARD,
        *,
        rotation: Tensor | None = None,
    ) -> None:
        self.prior = prior
        self.likelihood = likelihood
        self.support = support
        self.rotation = rotation

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, Q) or (N, Q, outputs of a latent)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x.new_zeros(x.shape[1])).to_event(1))
            y = z if self.rotation is None else z @ self.rotation.to(x).T
            pyro.sample("x", self.likelihood(y).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        nodes, log_weights = nodes_between(*self.support)
        log_masses = log_weights + self.prior(nodes.new_zeros(())).log_prob(nodes)
        parts = [self._log_piece(nodes, log_masses, piece) for piece in x.double().unbind(1)]
        return torch.stack(parts).sum(0)

    def _log_piece(self, nodes: Tensor, log_masses: Tensor, piece: Tensor) -> Tensor:
        y = nodes[:, None]
        log_likelihood = self.likelihood(y).log_prob(piece)
        total: Tensor = (log_masses[:, None] + log_likelihood).logsumexp(0)
        return total


def normal_product(
    size: int, likelihood: Callable[[Tensor], TorchDistribution]
) -> tuple[Product, Tensor]:
    """Rotated standard normal latents, and data of them.

    Example:
        >>> model, x = normal_product(3, lambda y: dist.Poisson(y.exp()))
        >>> x.shape
        torch.Size([8, 3])
    """
    model = Product(lambda zeros: dist.Normal(zeros, 1.0), likelihood, rotation=rotation(size))
    return model, simulate(model, torch.zeros(NUM_DATA, size, dtype=torch.float64))


def log_normal_constant(size: int) -> float:
    """The logarithm of the standard normal density at 0 in some dimensions.

    Example:
        >>> round(log_normal_constant(2), 4)
        -1.8379
    """
    return -size / 2 * math.log(2 * math.pi)
