"""The parts of families: parameters at random, nodes, products of 1-D pieces."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from lvkam_pyro.statistics.quadrature import composite_gauss_legendre
from lvkam_pyro.tracing.arguments import Program

NUM_DATA = 8
_NUM_NODES = 4
_NUM_PANELS = (30, 30, 60)
"""Of the three grids of a plane, along either side."""

_NEGLIGIBLE = 45.0
"""Nats below the highest density where nothing is left to integrate."""


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
        >>> torch.allclose(directions(3, 5).norm(dim=-1), torch.ones(3).double())
        True
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


def panels(low: float, high: float, count: int = 2000) -> Tensor:
    """The edges of panels of equal width, in float64.

    Example:
        >>> panels(0.0, 1.0, 4)
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000], dtype=torch.float64)
    """
    return torch.linspace(low, high, count + 1, dtype=torch.float64)


STANDARD = panels(-9.0, 9.0)
"""For a standard normal latent, of which 1e-18 lies outside."""


def nodes_on(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes, four in each panel, and the logarithms of their weights.

    Example:
        >>> nodes, log_weights = nodes_on(panels(0.0, 2.0))
        >>> round(float(log_weights.exp() @ nodes.square()), 6)  # 8 / 3
        2.666667
    """
    nodes, weights = composite_gauss_legendre(edges, _NUM_NODES)
    return nodes, weights.log()


def log_plane_integral(log_density: Callable[[Tensor], Tensor], limit: float) -> Tensor:
    """The logarithm of the integral of a density over a square about 0.

    The first grids show where the density is, and the last one integrates it there.

    Args:
        log_density: From points `(S, 2)` to `(S,)`.
        limit: Half the square's side.

    Example:
        >>> density = dist.Normal(torch.zeros(2).double(), 0.01).to_event(1)
        >>> abs(float(log_plane_integral(density.log_prob, 10.0))) < 1e-9
        True
    """
    ends = torch.tensor([[-limit, limit]] * 2, dtype=torch.float64)
    for count in _NUM_PANELS:
        axes = [nodes_on(panels(float(low), float(high), count)) for low, high in ends]
        points = torch.cartesian_prod(*(nodes for nodes, _ in axes))
        log_weights = torch.cartesian_prod(*(log_weights for _, log_weights in axes)).sum(-1)
        values = log_density(points)
        near = points[values > values.max() - _NEGLIGIBLE]
        step = (ends[:, 1] - ends[:, 0]) / count
        ends = torch.stack([near.amin(0) - step, near.amax(0) + step], -1)
    return (values + log_weights).logsumexp(0)


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
        edges: Of the panels that cover a latent's support.
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
        edges: Tensor = STANDARD,
        *,
        rotation: Tensor | None = None,
    ) -> None:
        self.prior = prior
        self.likelihood = likelihood
        self.edges = edges
        self.rotation = rotation

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, Q) or (N, Q, outputs of a latent)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x.new_zeros(x.shape[1])).to_event(1))
            y = z if self.rotation is None else z @ self.rotation.to(x).T
            pyro.sample("x", self.likelihood(y).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        return torch.stack([self._log_piece(piece) for piece in x.double().unbind(1)]).sum(0)

    def _log_piece(self, x: Tensor) -> Tensor:
        """Of the outputs of one latent; at a datum there may be a kink, so that a panel ends."""
        kinks = x.reshape(-1).clamp(self.edges[0], self.edges[-1])
        nodes, log_weights = nodes_on(torch.cat([self.edges, kinks]).sort().values)
        log_masses = log_weights + self.prior(nodes.new_zeros(())).log_prob(nodes)
        log_likelihood = self.likelihood(nodes[:, None]).log_prob(x)
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
