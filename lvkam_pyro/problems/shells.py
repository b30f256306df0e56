"""Two thin shells in ten dimensions: evidence by a quadrature over the radius."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.statistics.quadrature import composite_gauss_legendre

_NUM_LATENTS = 10
_HALF_WIDTH, _CENTRE, _SCALE = 6.0, 3.5, 0.1
_RADII = (1.2, 1.4, 1.6, 1.8)
_NUM_NODES = 400


class GaussianShells:
    r"""A datum is the distance from one of two centres, measured with a small error.

    .. math:: z \sim U(-6, 6)^{10}, \qquad
              x \sim \tfrac12 N(|z - c|, 0.1^2) + \tfrac12 N(|z + c|, 0.1^2), \qquad
              c = (3.5, 0, \dots, 0)

    Both shells lie inside the box, so that with :math:`A` the unit sphere's area
    :math:`p(x) = \int_0^{2.5} A r^9 N(x; r, 0.1^2) \, dr / 12^{10}`
    (after Feroz and Hobson 2008, https://doi.org/10.1111/j.1365-2966.2007.12353.x, section 6.2).

    Example:
        >>> GaussianShells().log_evidence(torch.tensor([2.0]).double())
        tensor([-15.2836], dtype=torch.float64)
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the distances x (N,)."""
        centre = torch.eye(1, _NUM_LATENTS).to(x) * _CENTRE
        ends = x.new_full((_NUM_LATENTS,), _HALF_WIDTH)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(-ends, ends).to_event(1))
            radii = (z[..., None, :] - torch.cat([centre, -centre])).norm(dim=-1)
            parts = dist.Normal(radii, _SCALE)
            law = dist.MixtureSameFamily(dist.Categorical(logits=x.new_zeros(2)), parts)
            pyro.sample("x", law, obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        ends = torch.tensor([0.0, _HALF_WIDTH - _CENTRE], dtype=torch.float64)
        radius, weights = composite_gauss_legendre(ends, _NUM_NODES)
        log_area = math.log(2) + _NUM_LATENTS / 2 * math.log(math.pi) - math.lgamma(5)
        log_masses = weights.log() + log_area + (_NUM_LATENTS - 1) * radius.log()
        log_likelihood = dist.Normal(radius, _SCALE).log_prob(x.double()[:, None])
        log_volume = _NUM_LATENTS * math.log(2 * _HALF_WIDTH)
        return (log_masses + log_likelihood).logsumexp(-1) - log_volume


def gaussian_shells() -> Problem:
    """The problem.

    Example:
        >>> gaussian_shells().x
        tensor([1.2000, 1.4000, 1.6000, 1.8000], dtype=torch.float64)
    """
    model, x = GaussianShells(), torch.tensor(_RADII, dtype=torch.float64)
    return Problem(
        name="gaussian_shells",
        title="Gaussian shells, 10-D",
        model=model,
        x=x,
        log_evidence=model.log_evidence(x),
        num_latents=_NUM_LATENTS,
        source="quadrature over the radius",
    )
