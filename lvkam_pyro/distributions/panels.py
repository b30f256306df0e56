"""Composite Gauss-Legendre panels, aligned with the breakpoints of an energy."""

import copy
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvkam_pyro.distributions.reference import lower_tail, support_bounds, upper_tail
from lvkam_pyro.distributions.rows import search_rows, take_rows
from lvkam_pyro.statistics.quadrature import gauss_legendre

NODES_PER_PANEL = 8

_PANELS_PER_CELL = 4

_MIN_PANELS = 32

# Tabulated at import: numpy's rule inside a traced function breaks torch.compile.
_UNIT_NODES, _UNIT_WEIGHTS = gauss_legendre(NODES_PER_PANEL)


def unit_nodes(like: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on `[0, 1]`, each of shape `(n,)`, as `like`'s dtype."""
    return _UNIT_NODES.to(like), _UNIT_WEIGHTS.to(like)


class Panels:
    r"""The panels on which one-dimensional densities are integrated.

    Each cell between two breakpoints is cut into at least 4 equal panels, all cells into at least
    32, of 8 Gauss-Legendre nodes. Where :math:`\pi_0` reaches beyond the breakpoints, each tail
    is another section, with panels of
    :func:`lvkam_pyro.distributions.reference.lower_tail`. :meth:`moved` puts other panels into the
    same sections, for each density its own.

    Arguments:
        breakpoints: Increasing ends of the cells, of shape `(*b, G + 1)`. All rows share the
            first and the last.
        reference: The reference measure :math:`\pi_0`.

    Attributes:
        sections: Ends of the tails and cells, of shape `(*b, J + 1)`, float64.
        has_equal_cells: Whether all rows share breakpoints that are equally spaced.
        section: Section of each panel, of shape `(M,)` or, once moved, `(*b, M)`.
        edges: Ends of the panels, of shape `(*b, M + 1)`, float64.
        nodes: Quadrature nodes, of shape `(*b, M, n)`, float64.
        log_weights: Logarithms of the quadrature weights, of shape `(*b, M, n)`, float64.
        cell: Cell of each panel, of the shape of `section`; the end cells for the tails.
        position: Position of each node in its cell, from 0 to 1, of shape `(*b, M, n)`, float64.
    """

    def __init__(self, breakpoints: Tensor, reference: Distribution) -> None:
        self.breakpoints = breakpoints
        self.has_equal_cells = _are_equally_spaced(breakpoints.detach())
        cells = breakpoints.detach().double()
        batch, num_cells = cells.shape[:-1], cells.shape[-1] - 1
        lower, upper = _tails(cells.reshape(-1, num_cells + 1)[0], reference)
        self._has_lower = int(len(lower) > 0)
        ends = (lower[:1].expand(*batch, -1), cells, upper[-1:].expand(*batch, -1))
        self.sections = torch.cat(ends, -1)
        per_cell = max(_PANELS_PER_CELL, -(-_MIN_PANELS // num_cells))
        steps = torch.arange(per_cell, device=cells.device).to(cells) / per_cell
        inner = (cells[..., :-1, None] + cells.diff()[..., None] * steps).flatten(-2)
        edges = (lower.expand(*batch, -1), inner, cells[..., -1:], upper.expand(*batch, -1))
        counts = [len(lower)] * self._has_lower + [per_cell] * num_cells
        counts += [len(upper)] * (len(upper) > 0)
        repeats = torch.tensor(counts, device=cells.device)
        section = torch.arange(len(counts), device=cells.device).repeat_interleave(repeats)
        self._place(torch.cat(edges, -1), section)

    def moved(self, edges: Tensor, section: Tensor) -> Self:
        """The same sections with other panels: their `edges` `(*b, M + 1)` and `section`."""
        new = copy.copy(self)
        # Explicitly, for torch.jit.trace does not record no_grad.
        new._place(edges.detach(), section)
        return new

    def cut(self, points: Tensor) -> Self:
        """Panels that end at the given points too, of shape `(..., D)`; some have no width."""
        rows = torch.broadcast_shapes(self.edges.shape[:-1], points.shape[:-1])
        low, high = self.edges.min(), self.edges.max()
        points = points.to(self.edges)
        # Points outside cut nothing, nor may they leave an empty panel at an end of the support.
        points = torch.where((points > low) & (points < high), points, 0.5 * (low + high))
        parts = (self.edges.expand(*rows, -1), points.expand(*rows, -1))
        edges = torch.cat(parts, -1).sort(-1).values
        middles = 0.5 * (edges[..., 1:] + edges[..., :-1])
        return self.moved(edges, search_rows(self.sections[..., 1:-1], middles))

    def component(self) -> Self:
        """The panels of a mixture, from those that its components share, last in the batch."""
        if self.breakpoints.ndim == 1:
            return self
        new = copy.copy(self)
        new.breakpoints, new.sections = self.breakpoints[..., 0, :], self.sections[..., 0, :]
        new._place(self.edges[..., 0, :], self.section)
        return new

    def components(self) -> Self:
        """The panels of a mixture as those of its components, last in the batch."""
        new = copy.copy(self)
        for name in ("breakpoints", "sections", "edges", "section", "cell"):
            rows = getattr(self, name)
            setattr(new, name, rows if rows.ndim == 1 else rows.unsqueeze(-2))
        for name in ("nodes", "log_weights", "position"):
            rows = getattr(self, name)
            setattr(new, name, rows if rows.ndim == 2 else rows.unsqueeze(-3))
        return new

    def _place(self, edges: Tensor, section: Tensor) -> None:
        self.edges, self.section = edges, section
        unit, weights = unit_nodes(edges)
        widths = edges.diff().unsqueeze(-1)
        self.nodes = edges[..., :-1, None] + widths * unit
        # A panel without width has no mass, but no infinite logarithm either.
        self.log_weights = (widths * weights).clamp(min=torch.finfo(edges.dtype).tiny).log()
        cells = self.breakpoints.detach().double()
        # The tails belong to the end cells, beyond which the energy keeps its value.
        self.cell = (section - self._has_lower).clamp(0, cells.shape[-1] - 2)
        offset = self.nodes - take_rows(cells, self.cell).unsqueeze(-1)
        self.position = (offset / take_rows(cells.diff(), self.cell).unsqueeze(-1)).clamp(0, 1)


def _are_equally_spaced(points: Tensor) -> bool:
    if points.ndim > 1:
        return False
    low, high = points[0].double(), points[-1].double()
    steps = torch.arange(len(points), device=points.device) / (len(points) - 1)
    error = (points - (low + (high - low) * steps.to(low))).abs().max()
    return bool(error <= 8 * torch.finfo(points.dtype).eps * (high - low))


def _tails(cells: Tensor, reference: Distribution) -> tuple[Tensor, Tensor]:
    """Panel edges below the first and above the last breakpoint, empty without a tail."""
    low, high = support_bounds(reference)
    none = cells.new_empty(0)
    lower = lower_tail(cells[0], reference) if cells[0] > low else none
    return lower, upper_tail(cells[-1], reference) if cells[-1] < high else none
