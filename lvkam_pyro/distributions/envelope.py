"""Upper bounds of energies in a form that can be drawn from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.distributions.bounds import Bound, Hull, piece_edges
from lvkam_pyro.distributions.reference import is_flat
from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.options import check_count

_FLATTEST = 1e-6
"""Slope below which a line is taken as this steep: its quantile then needs no special case."""


class Pieces(ABC):
    """Proposals on `R x C` pieces under an upper bound of the energies.

    Attributes:
        log_mass: Logarithm of the integral of the bound over each piece, `(R, C)`, float64.
    """

    log_mass: Tensor

    @abstractmethod
    def draw(self, slot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Proposals on pieces numbered in the flattened table.

        Returns:
            The points, the bound of the energy there, and a probability with which the point may
            be accepted unseen, each of the shape of `slot`.
        """


@dataclass(frozen=True)
class Envelope(ABC):
    """A family of upper bounds that can be drawn from.

    Arguments:
        num_pieces: Equal pieces that each cell is cut into; more pieces accept more.

    Raises:
        ValueError: If there is no piece.
    """

    num_pieces: int = 4

    def __post_init__(self) -> None:
        check_count("num_pieces", self.num_pieces)

    @abstractmethod
    def tabulate(self, density: UnivariateDensity, bound: Bound) -> Pieces:
        """The pieces of a density's energies, flattened to `R` functions."""


class LogLinearEnvelope(Envelope):
    r"""An exponential :math:`e^{a + b z}` on each piece, for a uniform reference.

    The line joins the energy's ends and is raised until it lies above the hull. With 4 pieces a
    cell it accepts 97 to 99 of 100 proposals for cubic energies that change by up to 10 in a cell.

    Example:
        >>> from lvkam_pyro.distributions.bounds import BernsteinBound
        >>> from lvkam_pyro.distributions.logspline import LogSpline
        >>> density = LogSpline(torch.tensor([[0.0, 2.0]]), torch.tensor([0.0, 1.0]))
        >>> pieces = LogLinearEnvelope().tabulate(density, BernsteinBound())
        >>> pieces.log_mass.exp().sum()  # a line is its own envelope: (e^2 - 1) / 2
        tensor(3.1945, dtype=torch.float64)
    """

    def tabulate(self, density: UnivariateDensity, bound: Bound) -> Pieces:
        """Lines above the hull."""
        if not is_flat(density.reference):
            raise ValueError(
                f"Expected a uniform reference measure, got {density.reference}: an exponential "
                "is not above the density under another. Use ConstantEnvelope()."
            )
        hull = bound.hull(density, self.num_pieces)
        return _LogLinearPieces(piece_edges(density, self.num_pieces), hull, density.dtype)


class ConstantEnvelope(Envelope):
    r"""A multiple :math:`e^{a} \pi_0` of the reference measure on each piece.

    Proposals are draws of :math:`\pi_0` between the ends of the piece by its quantiles, so that
    every reference serves and its tails beyond the breakpoints, where the energy is constant, are
    accepted always. With 4 pieces a cell it accepts 80 to 93 of 100 proposals.

    Example:
        >>> from lvkam_pyro.distributions.bounds import BernsteinBound
        >>> from lvkam_pyro.distributions.logspline import LogSpline
        >>> density = LogSpline(torch.zeros(1, 1), torch.tensor([0.0, 1.0]))
        >>> ConstantEnvelope(2).tabulate(density, BernsteinBound()).log_mass.exp()
        tensor([[0.0000, 0.5000, 0.5000, 0.0000]], dtype=torch.float64)
    """

    def tabulate(self, density: UnivariateDensity, bound: Bound) -> Pieces:
        """The highest control point of each piece, and of the tails."""
        hull = bound.hull(density, self.num_pieces)
        return _ConstantPieces(piece_edges(density, self.num_pieces), hull, density)


class _LogLinearPieces(Pieces):
    """Columns of one table, so that a proposal gathers one row: origin, scale, ..."""

    def __init__(self, edges: Tensor, hull: Hull, dtype: torch.dtype) -> None:
        points = hull.points
        slope = points[..., -1] - points[..., 0]
        slope = torch.where(slope.abs() < _FLATTEST, -_FLATTEST, slope)
        place = torch.linspace(0, 1, points.shape[-1], dtype=points.dtype, device=points.device)
        above = points - slope[..., None] * place
        start = above.amax(-1) + hull.lift
        depth = (start[..., None] - above).amax(-1)
        # Each line is followed downhill, where its exponential cannot overflow.
        rising = slope > 0
        fall, height = -slope.abs(), torch.where(rising, start + slope, start)
        origin = torch.where(rising, edges[:, 1:], edges[:, :-1])
        span = torch.where(rising, -edges.diff(), edges.diff())
        steepness = torch.expm1(fall)
        self.log_mass = height + (edges.diff() * steepness / fall).log()
        squeeze = depth.neg().exp() if hull.below else torch.zeros_like(depth)
        columns = [origin, span / fall, steepness, height, squeeze]
        self._table = torch.stack(columns, -1).flatten(0, 1).to(dtype)

    def draw(self, slot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        columns = self._table.index_select(0, slot)
        origin, scale, steepness, height, squeeze = columns.unbind(-1)
        descent = torch.log1p(torch.rand_like(origin) * steepness)
        return torch.addcmul(origin, scale, descent), height + descent, squeeze


class _ConstantPieces(Pieces):
    """The pieces between the breakpoints, and the two tails, in probabilities of the reference."""

    def __init__(self, edges: Tensor, hull: Hull, density: UnivariateDensity) -> None:
        ends = hull.points[:, :1, :1], hull.points[:, -1:, -1:]
        tops = [ends[0][..., 0], hull.points.amax(-1) + hull.lift, ends[1][..., 0]]
        height = torch.cat(tops, -1)
        depth = hull.points.amax(-1) - hull.points.amin(-1)
        squeeze = depth.neg().exp() if hull.below else torch.zeros_like(depth)
        probability = torch.nn.functional.pad(density.reference.cdf(edges), (1, 0))
        probability = torch.nn.functional.pad(probability, (0, 1), value=1.0)
        # The normaliser of a density on a uniform reference leaves its height out.
        length = edges[:1, -1:] - edges[:1, :1] if is_flat(density.reference) else 1.0
        self.log_mass = height + (length * probability.diff()).log()
        columns = [
            probability[:, :-1],
            probability.diff(),
            height,
            torch.nn.functional.pad(squeeze, (1, 1), value=1.0),
        ]
        # In float64: the quantile of a tail needs every digit of its probability.
        self._table = torch.stack(columns, -1).flatten(0, 1)
        self._density = density

    def draw(self, slot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        origin, span, height, squeeze = self._table.index_select(0, slot).unbind(-1)
        limits = torch.finfo(span.dtype)
        # The quantiles of 0 and 1 may be infinite.
        u = torch.addcmul(origin, span, torch.rand_like(span)).clamp_(limits.tiny, 1 - limits.eps)
        z, dtype = self._density.reference.icdf(u), self._density.dtype
        return z.to(dtype), height.to(dtype), squeeze.to(dtype)
