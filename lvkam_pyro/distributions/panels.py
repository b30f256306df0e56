"""Composite Gauss-Legendre panels, aligned with the breakpoints of an energy."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lvkam_pyro.distributions.tails import lower_tail, upper_tail

_NODES_PER_PANEL = 5
_PANELS_PER_CELL = 8
_MIN_PANELS = 64

# Tabulated at import: numpy's leggauss inside a traced function breaks torch.compile.
_UNIT_NODES, _UNIT_WEIGHTS = (
    torch.from_numpy(0.5 * values) for values in np.polynomial.legendre.leggauss(_NODES_PER_PANEL)
)
_UNIT_NODES = _UNIT_NODES + 0.5


def unit_nodes(like: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on `[0, 1]`, each of shape `(n,)`, as `like`'s dtype."""
    return _UNIT_NODES.to(like), _UNIT_WEIGHTS.to(like)


class Panels:
    r"""The panels on which a one-dimensional density is integrated.

    Each cell between two breakpoints is cut into at least 8 panels, all cells into at least 64,
    of 5 Gauss-Legendre nodes. Between breakpoints the integrand is smooth, so the error falls as
    :math:`h^{10}`: distribution function and quantile agree to 1e-6 for energies that change by
    up to 60 across a cell, to 1e-10 for 15.
    Where :math:`\pi_0` reaches beyond the breakpoints, each tail has panels of its own, see
    :func:`lvkam_pyro.distributions.tails.lower_tail`.

    Arguments:
        breakpoints: Increasing ends of the cells, of shape `(G + 1,)`.
        reference: The reference measure :math:`\pi_0`.

    Attributes:
        edges: Ends of the panels, of shape `(M + 1,)`, float64.
        nodes: Quadrature nodes, of shape `(M, n)`, float64.
        log_weights: Logarithms of the quadrature weights, of shape `(M, n)`, float64.
        cell: Cell of each panel, of shape `(M,)`.
        place: Place of each node in its cell, from 0 to 1, of shape `(M, n)`, float64.
    """

    def __init__(self, breakpoints: Tensor, reference: Distribution) -> None:
        self.breakpoints = breakpoints
        cells = breakpoints.detach().double()
        per_cell = max(_PANELS_PER_CELL, -(-_MIN_PANELS // (len(cells) - 1)))
        steps = torch.arange(per_cell, device=cells.device).to(cells) / per_cell
        inner = (cells[:-1, None] + cells.diff()[:, None] * steps).flatten()
        lower, upper = _tails(cells, reference)
        self.edges = torch.cat([lower, inner, cells[-1:], upper])
        widths = self.edges.diff()[:, None]
        unit, weights = unit_nodes(self.edges)
        self.nodes = self.edges[:-1, None] + widths * unit
        self.log_weights = (widths * weights).log()
        # Where each panel and node lies among the cells: the tails belong to the end cells.
        middles = 0.5 * (self.edges[1:] + self.edges[:-1])
        self.cell = torch.searchsorted(cells[1:-1], middles, right=True)
        offset = self.nodes - cells[self.cell][:, None]
        self.place = (offset / cells.diff()[self.cell][:, None]).clamp(0, 1)

    def locate(self, z: Tensor) -> Tensor:
        """Index of the panel that holds each `z` (same shape), nearest panel outside."""
        return torch.searchsorted(self.edges[1:-1], z.contiguous().to(self.edges), right=True)


def support_bounds(reference: Distribution) -> tuple[float, float]:
    """Ends of the support of a univariate continuous distribution, infinite where unbounded.

    Raises:
        ValueError: If the support is neither an interval, a half-line nor the real line.
    """
    support = reference.support
    low = getattr(support, "lower_bound", -math.inf)
    high = getattr(support, "upper_bound", math.inf)
    known = support is constraints.real or math.isfinite(low) or math.isfinite(high)
    discrete = support is None or support.is_discrete
    if not known or discrete or reference.batch_shape or reference.event_shape:
        raise ValueError(
            "Expected a reference measure that is one univariate continuous distribution "
            f"(batch_shape () and an interval, half-line or real support), got {reference}. "
            "Pass for example torch.distributions.Uniform(0.0, 1.0)."
        )
    return float(low), float(high)


def _tails(cells: Tensor, reference: Distribution) -> tuple[Tensor, Tensor]:
    """Panel edges below the first and above the last breakpoint, empty without a tail."""
    low, high = support_bounds(reference)
    none = cells.new_empty(0)
    lower = lower_tail(cells[0], reference) if cells[0] > low else none
    return lower, upper_tail(cells[-1], reference) if cells[-1] < high else none
