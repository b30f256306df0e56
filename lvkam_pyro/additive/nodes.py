"""Quadrature nodes on a line, crowded where a curve runs fast."""

import torch
from torch import Tensor

NODES_PER_PANEL = 4


def edges_of_equal_length(points: Tensor, length: Tensor, num_nodes: int) -> Tensor:
    """Panel edges between which a measure grows equally.

    Args:
        points: Increasing points, `(Q, M)`.
        length: The measure from the first point to each, increasing from 0, `(Q, M)`.
        num_nodes: The number of nodes wanted, rounded up to whole panels.

    Returns:
        Edges from the first to the last point, `(Q, panels + 1)`.

    Example:
        >>> points = torch.tensor([[0.0, 1.0, 2.0]])
        >>> edges_of_equal_length(points, torch.tensor([[0.0, 3.0, 4.0]]), 8)
        tensor([[0.0000, 0.6667, 2.0000]])
    """
    num_panels = -(-num_nodes // NODES_PER_PANEL)
    steps = torch.linspace(0, 1, num_panels + 1, dtype=length.dtype, device=length.device)
    wanted = (length[:, -1:] * steps).clamp(max=length[:, -1:])
    right = torch.searchsorted(length, wanted).clamp(1, length.shape[1] - 1)
    low, high = length.gather(1, right - 1), length.gather(1, right)
    share = ((wanted - low) / (high - low)).clamp(0, 1)
    return torch.lerp(points.gather(1, right - 1), points.gather(1, right), share)


def cell_ends(low: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The cell that belongs to each node: as long as its weight, the cells side by side.

    Every Gauss-Legendre node lies inside its cell (the theorem of Chebyshev, Markov and
    Stieltjes; Szego 1939, Orthogonal Polynomials, section 3.41).

    Args:
        low: The lower end of the first cell, `(Q,)`.
        weights: Quadrature weights, `(Q, G)`.

    Returns:
        Lower ends and widths of the cells, `(Q, G)` each.

    Example:
        >>> from lvkam_pyro.statistics.quadrature import composite_gauss_legendre
        >>> nodes, weights = composite_gauss_legendre(torch.tensor([[0.0, 1.0]]).double(), 4)
        >>> ends, widths = cell_ends(torch.zeros(1), weights)
        >>> bool(((ends < nodes) & (nodes < ends + widths)).all())
        True
    """
    return low[:, None] + weights.cumsum(-1) - weights, weights
