"""Panels that follow a density which equal panels do not resolve."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lvkam_pyro.distributions.panels import NODES_PER_PANEL, Panels, unit_nodes
from lvkam_pyro.distributions.rows import search_rows, take_rows
from lvkam_pyro.distributions.table import Table
from lvkam_pyro.statistics.quadrature import gauss_legendre

_FREE_PANELS = 64
_MOVES = (1, 1.5, 2, 2, 3, 3)
_TEMPERATURES = (4.0, 12.0)
_SPREAD = 1e-2
_HIGHEST_HUMP = 1.5
_STEEPEST_GAP = 12.0
_NEGLECTED = 36.0
_NEGLECTED_BELOW = 26.0
# The integral of the ninth Legendre polynomial from an end of a panel of width 1 is below this.
_SHARE = 0.03
_TINY = 1e-300


def _last_legendre_coefficients() -> Tensor:
    """From the masses of a panel's nodes to the last four coefficients of the density, `(n, 4)`."""
    nodes, _ = gauss_legendre(NODES_PER_PANEL)
    degrees = np.arange(NODES_PER_PANEL)
    values = np.polynomial.legendre.legvander(2 * nodes.numpy() - 1, NODES_PER_PANEL - 1)
    return torch.from_numpy((values * (2 * degrees + 1))[:, -4:].copy())


_LAST_COEFFICIENTS = _last_legendre_coefficients()


def resolve(panels: Panels, evaluate: Callable[[Panels], Tensor], tolerance: float) -> Table:
    """The table of densities, on panels that are moved until they resolve every one.

    Arguments:
        panels: Panels to start from, which most densities keep.
        evaluate: Takes panels and returns the log potential at their nodes, `(*batch, M, n)`.
        tolerance: Admitted error of the distribution function.

    Raises:
        ValueError: If a log potential is not finite.
    """
    table = Table(panels, evaluate(panels))
    num_sections = panels.sections.shape[-1] - 1
    free = max(_FREE_PANELS, 4 * num_sections, panels.section.shape[-1] - num_sections)
    for factor in _MOVES:
        resolved = is_resolved(table, tolerance)
        # The one line that waits for an accelerator.
        if bool(resolved.all()):
            break
        check_finite(table.potentials)
        panels = follow(table, free=int(factor * free), keep=resolved)
        table = Table(panels, evaluate(panels))
    return table


@torch.no_grad()
def is_resolved(table: Table, tolerance: float) -> Tensor:
    r"""Whether the polynomials through the nodes of each panel are the density, `(*batch)`.

    The first Legendre coefficients of the density that a panel's polynomial lacks, extrapolated
    from its last four, must stay below the tolerance as a share of all mass. To believe this, no
    hump between nodes may be higher than them by 1.5 nats, and no two nodes, the higher of which
    matters, may differ by 12.

    Arguments:
        table: The table of the densities.
        tolerance: Admitted error of the distribution function.
    """
    resolved = _errors(table).sum(-1) < tolerance
    # Most densities are calm in every panel: then there is nothing else to look at.
    if bool(table.potentials.diff().abs().amax() < _HIGHEST_HUMP):
        return resolved
    height = table.potentials - table.potentials.amax((-2, -1), keepdim=True)
    seen = (_hump(height) == 0) & ~_is_beside_cliff(height)
    return resolved & seen.flatten(-2).all(-1)


@torch.no_grad()
def follow(table: Table, *, free: int, keep: Tensor) -> Panels:
    r"""Panels that crowd where the log density changes and has mass.

    Their edges take equal steps of a sum of four measures: the variation of
    :math:`p^{1/4} + p^{1/12}`, which is large where the density falls; the ninth root of the
    errors so far, of which equal steps make equal errors; and two on the nodes beside which
    a hump or a cliff may hide. Each section has one panel and its share of the free ones.

    Arguments:
        table: The table of the densities on the panels so far.
        free: Number of panels beyond one for each section.
        keep: Which densities keep their panels, of shape `(*batch)`.

    Returns:
        Panels with a row of edges for each density.
    """
    panels = table.panels
    monitor = _monitor(table)
    batch = monitor.shape[:-2]
    num_sections = panels.sections.shape[-1] - 1
    section = panels.section.expand(*batch, -1)
    share = monitor.new_zeros(*batch, num_sections).scatter_add(-1, section, monitor.sum(-1))
    before = torch.nn.functional.pad(share.cumsum(-1), (1, 0))
    number, own = _allocate(before, free)
    # The position of each panel in its section, in the measure that all panels share equally.
    first = take_rows(number, own)
    count = (take_rows(number, own + 1) - first).clamp(min=1)
    index = torch.arange(own.shape[-1], device=own.device)
    target = take_rows(before, own) + take_rows(share, own) * (index - first) / count
    edges = _invert(panels, monitor, target)
    low, high = take_rows(panels.sections, own), take_rows(panels.sections, own + 1)
    edges = torch.where(index == first, low, edges.clamp(low, high))
    edges = torch.cat([edges, panels.sections[..., -1:].expand(*batch, 1)], -1)
    kept, kept_section = _lengthen(panels, own.shape[-1])
    keep = keep.unsqueeze(-1)
    return panels.moved(torch.where(keep, kept, edges), torch.where(keep, kept_section, own))


def check_finite(energies: Tensor) -> None:
    """Raise a ValueError that says how many energies are NaN or infinite."""
    finite = energies.isfinite()
    if not finite.all():
        raise ValueError(
            f"Expected finite energies, got {int((~finite).sum())} of {finite.numel()} that are "
            "NaN or infinite. Check the parameters of the energy, or bound it; to cut a region "
            "out, narrow the support of the reference."
        )


def _lengthen(panels: Panels, num_panels: int) -> tuple[Tensor, Tensor]:
    """Edges and sections of panels whose last one is cut until there are `num_panels`."""
    missing = num_panels - panels.section.shape[-1]
    steps = torch.arange(1, missing + 2, device=panels.edges.device) / (missing + 1)
    start, end = panels.edges[..., -2:-1], panels.edges[..., -1:]
    edges = torch.cat([panels.edges[..., :-1], start + (end - start) * steps.to(start)], -1)
    last = panels.section[..., -1:].expand(*panels.section.shape[:-1], missing)
    return edges, torch.cat([panels.section, last], -1)


def _errors(table: Table) -> Tensor:
    """Estimated error of the distribution function in each panel, `(*batch, M)`."""
    coefficients = (table.probabilities @ _LAST_COEFFICIENTS.to(table.probabilities)).abs()
    # The larger of the even and the odd, for one of them may vanish by symmetry.
    earlier, last = coefficients.unflatten(-1, (2, 2)).amax(-1).unbind(-1)
    return _SHARE * last.square() / torch.maximum(earlier, last).clamp(min=_TINY)


def _hump(height: Tensor) -> Tensor:
    """The height by which the potential may exceed that of a node, a peak so far, next to it.

    Zero for less than 1.5 nats, or where it stays far below the height 0.
    """
    slope = torch.nn.functional.pad(height.flatten(-2).diff(), (1, 1))
    is_top = (slope[..., :-1] >= 0) & (slope[..., 1:] <= 0)
    # Across panels the potential may jump without a hump.
    step = height.diff().abs()
    change = torch.maximum(*(torch.nn.functional.pad(step, side) for side in ((1, 0), (0, 1))))
    matters = (change > _HIGHEST_HUMP) & (height + change > -_NEGLECTED)
    return change * (is_top.view_as(change) & matters)


def _is_beside_cliff(height: Tensor) -> Tensor:
    """Whether a node lies beside a fall, from where there is mass, that no node is on."""
    flat = height.flatten(-2)
    cliff = flat.diff().abs() > _STEEPEST_GAP
    cliff &= torch.maximum(flat[..., 1:], flat[..., :-1]) > -_NEGLECTED_BELOW
    sides = (torch.nn.functional.pad(cliff, side) for side in ((1, 0), (0, 1)))
    return torch.logical_or(*sides).view_as(height)


def _monitor(table: Table) -> Tensor:
    """The number of panels that each node calls for, up to a factor: `(*batch, M, n)`."""
    height = table.potentials - table.potentials.amax((-2, -1), keepdim=True)
    root = torch.stack([(height / temperature).exp() for temperature in _TEMPERATURES]).sum(0)
    step = torch.nn.functional.pad(root.flatten(-2).diff().abs(), (1, 1))
    variation = 0.5 * (step[..., 1:] + step[..., :-1]).view_as(root)
    _, weights = unit_nodes(height)
    # A panel in k pieces has errors k^9 times smaller: equal ones if it gets error^(1/9) pieces.
    errors = _errors(table) ** (1 / (NODES_PER_PANEL + 1))
    cliffs = _is_beside_cliff(height).to(height)
    parts = (variation, errors.unsqueeze(-1) * weights, _around_humps(height), cliffs)
    spread = _SPREAD * _shares(weights.expand_as(height))
    return torch.stack([*map(_shares, parts), spread]).sum(0)


def _around_humps(height: Tensor) -> Tensor:
    """The nodes next to those that may hide a hump, the more the higher it may be."""
    hump = _hump(height)
    rise = torch.where(hump > 0, height + hump, -torch.inf)
    scale = 0.25 * hump.amax((-2, -1), keepdim=True) + 1
    # Nothing is lost where there is no hump, where all heights are minus infinity.
    weight = ((rise - rise.amax((-2, -1), keepdim=True)) / scale).exp().nan_to_num(0.0)
    around = torch.nn.functional.pad(weight.flatten(-2), (1, 1))
    return (around[..., 2:] + around[..., 1:-1] + around[..., :-2]).view_as(height)


def _shares(parts: Tensor) -> Tensor:
    total = parts.sum((-2, -1), keepdim=True)
    return parts / total.clamp(min=_TINY)


def _allocate(before: Tensor, free: int) -> tuple[Tensor, Tensor]:
    """Number of panels below each section's ends, and the section of each panel."""
    num_sections = before.shape[-1] - 1
    shares = (free * before / before[..., -1:]).round().long()
    number = shares + torch.arange(num_sections + 1, device=before.device)
    index = torch.arange(free + num_sections, device=before.device)
    own = search_rows(number[..., 1:], index.expand(*number.shape[:-1], -1))
    return number, own


def _invert(panels: Panels, monitor: Tensor, target: Tensor) -> Tensor:
    """Points below which the pieces around the nodes, as wide as their weights, hold `target`."""
    pieces = monitor.flatten(-2)
    above = pieces.cumsum(-1)
    piece = search_rows(above[..., :-1], target)
    panel, node = piece // NODES_PER_PANEL, piece % NODES_PER_PANEL
    below = take_rows(above, piece) - take_rows(pieces, piece)
    fraction = ((target - below) / take_rows(pieces, piece)).clamp(0, 1)
    _, weights = unit_nodes(monitor)
    position = (weights.cumsum(0) - weights)[node] + fraction * weights[node]
    return take_rows(panels.edges, panel) + position * take_rows(panels.edges.diff(), panel)
