"""True upper bounds of energies, piece by piece."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.logspline import LogSpline
from lvkam_pyro.distributions.univariate import UnivariateDensity


class Hull(NamedTuple):
    r"""Energies held between the control points of polynomials, on `C` pieces of `R` functions.

    On a piece, with :math:`t \in [0, 1]` the position in it, any line that lies above the points
    :math:`(i/m, b_i)`, lifted, lies above the energy.

    Attributes:
        points: Control points :math:`b`, of shape `(R, C, m + 1)`, float64.
        lift: What the energy may exceed them by, of shape `(R, C)`.
        below: Whether the energy lies above every line below the points, too.
    """

    points: Tensor
    lift: Tensor
    below: bool


class Bound(ABC):
    """A true upper bound of an energy.

    Implementing a bound: define ``hull``, which cuts each cell of a density into equal pieces and
    returns the :class:`Hull` of its energies. It must hold everywhere, or draws are wrong.
    """

    @abstractmethod
    def hull(self, density: UnivariateDensity, num_pieces: int) -> Hull:
        """The hull on `num_pieces` equal pieces of each cell, in the order of the cells.

        Raises:
            TypeError: If nothing is known about the energies of such a density.
        """


class BernsteinBound(Bound):
    r"""The convex hull of a polynomial's Bernstein coefficients.

    .. math:: f(t) = \sum_i b_i \binom{d}{i} t^i (1 - t)^{d - i} \quad \Rightarrow \quad
              f(t) \le \ell(t) \text{ for every line with } \ell(i/d) \ge b_i

    exact for :class:`~lvkam_pyro.distributions.logspline.LogSpline`. Coefficients on a part of a
    cell are de Casteljau's, computed as values of the polar form (Farin 2002, "Curves and Surfaces
    for CAGD", chapters 4 and 5).
    """

    def hull(self, density: UnivariateDensity, num_pieces: int) -> Hull:
        """The Bernstein coefficients on each piece."""
        if not isinstance(density, LogSpline):
            raise TypeError(
                f"Expected a LogSpline, whose polynomials bound themselves, got "
                f"{type(density).__name__}: a bound of a function that is known only by its "
                "values would be a guess, and draws under a guess follow another density. Pass "
                "RejectionSampler(bound=CurvatureBound(...)) with a bound on its curvature."
            )
        # Two degrees higher than the polynomials: their hull is then closer to them.
        coefficients = torch.nn.functional.pad(density.coefficients.detach().double(), (0, 2))
        points = control_points(coefficients, num_pieces)
        points = points.reshape(-1, *points.shape[-2:])
        return Hull(points, torch.zeros_like(points[..., 0]), below=True)


class CurvatureBound(Bound):
    r"""The chord of an energy, lifted by what a bound on its curvature allows.

    .. math:: f'' \ge -\kappa \quad \Rightarrow \quad
              f(z) \le \text{chord}(z) + \tfrac{\kappa}{2} (z - l)(r - z)
              \le \text{chord}(z) + \tfrac{\kappa}{8} (r - l)^2

    on the piece `[l, r]`, because :math:`f + \kappa z^2 / 2` is convex: for an
    :class:`~lvkam_pyro.distributions.energy.EnergyDistribution` of any function with a bounded
    second derivative in each cell. A draw that finds the energy above the bound raises.

    Arguments:
        curvature: The bound :math:`\kappa` of :math:`-f''` in each cell, at least 0, in energy per
            squared unit of `z`: a number or a tensor that broadcasts to `(*batch, G)`.

    Raises:
        ValueError: If the curvature is negative or not finite.

    Example:
        >>> wave = EnergyDistribution(lambda z: 3 * torch.sin(6 * z))
        >>> bound = CurvatureBound(108.0)  # 3 * 6^2
        >>> bool((bound.hull(wave, 4).lift > 0).all())
        True
    """

    def __init__(self, curvature: float | Tensor) -> None:
        self.curvature = torch.as_tensor(curvature, dtype=torch.float64)
        if not (self.curvature.isfinite() & (self.curvature >= 0)).all():
            raise ValueError(
                "Expected a curvature that is finite and at least 0, a bound of -f'' in each cell, "
                f"got {curvature}. A convex energy has curvature 0."
            )

    def hull(self, density: UnivariateDensity, num_pieces: int) -> Hull:
        """The energies at the ends of each piece, and the lift."""
        if not isinstance(density, EnergyDistribution):
            raise TypeError(
                f"Expected an EnergyDistribution, got {type(density).__name__}. Use "
                "BernsteinBound() for a LogSpline."
            )
        edges = piece_edges(density, num_pieces)
        shape = density._parameter_shape
        grid = edges.T.reshape(-1, *shape).to(density.dtype)
        energies = density.energy(grid).detach().double().reshape(-1, shape.numel()).T
        num_cells = density.breakpoints.shape[-1] - 1
        curvature = self.curvature.to(edges.device).expand(*shape, num_cells)
        pieces = curvature.reshape(-1, num_cells).repeat_interleave(num_pieces, -1)
        lift = pieces * edges.diff().square() / 8
        return Hull(torch.stack([energies[:, :-1], energies[:, 1:]], -1), lift, below=False)


def piece_edges(density: UnivariateDensity, num_pieces: int) -> Tensor:
    """Ends of the equal pieces of all cells, of shape `(R, C + 1)`, float64, for all functions."""
    breakpoints = density.breakpoints.detach().double()
    steps = torch.arange(num_pieces, device=breakpoints.device) / num_pieces
    inner = breakpoints[..., :-1, None] + breakpoints.diff()[..., None] * steps.double()
    edges = torch.cat([inner.flatten(-2), breakpoints[..., -1:]], -1)
    edges = edges.expand(*density._parameter_shape, edges.shape[-1])
    return edges.reshape(-1, edges.shape[-1])


def control_points(coefficients: Tensor, num_pieces: int) -> Tensor:
    r"""Bernstein coefficients of polynomials on each of the equal parts of `[0, 1]`.

    Arguments:
        coefficients: Coefficients `a` of :math:`\sum_j a_j t^j` in each cell, `(..., G, d + 1)`.
        num_pieces: Number of parts `S`.

    Returns:
        Control points of shape `(..., G S, d + 1)`.
    """
    matrix = torch.tensor(_polar_forms(coefficients.shape[-1] - 1, num_pieces)).to(coefficients)
    return torch.einsum("sij,...gj->...gsi", matrix, coefficients).flatten(-3, -2)


def _polar_forms(degree: int, num_pieces: int) -> list[list[list[float]]]:
    """By part, control point and power: the blossom of `t^j` at the ends of the part."""
    ends = [(part / num_pieces, (part + 1) / num_pieces) for part in range(num_pieces)]
    size = range(degree + 1)
    return [[[_blossom(j, degree, i, a, b) for j in size] for i in size] for a, b in ends]


def _blossom(power: int, degree: int, count: int, low: float, high: float) -> float:
    """The symmetric multilinear form of `t^power` at `high`, `count` times, and else at `low`."""
    terms = (
        math.comb(count, m) * math.comb(degree - count, power - m) * high**m * low ** (power - m)
        for m in range(max(0, power - degree + count), min(power, count) + 1)
    )
    return sum(terms) / math.comb(degree, power)
