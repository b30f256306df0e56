"""Gauss-Legendre rules: nodes and weights on the unit interval, tabulated once."""

import functools

import numpy as np
import torch
from torch import Tensor


@functools.cache
def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    r"""The Gauss-Legendre rule of some nodes on [0, 1], exact for polynomials of degree 2 n - 1.

    .. math:: \int_0^1 f(t) \, dt \approx \sum_{i=1}^{n} w_i f(t_i)

    Tabulate it outside of functions that are compiled: numpy inside breaks the graph.

    Args:
        count: Number of nodes `n`.

    Returns:
        Increasing nodes and their weights, `(n,)` each, in float64 on the CPU; shared, not to be
        changed in place.

    References:
        Golub, G. and Welsch, J. (1969). Calculation of Gauss quadrature rules.
        https://doi.org/10.1090/S0025-5718-69-99647-1

    Example:
        >>> nodes, weights = gauss_legendre(2)
        >>> (weights * nodes**3).sum()
        tensor(0.2500, dtype=torch.float64)
    """
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy(0.5 * nodes + 0.5), torch.from_numpy(0.5 * weights)


def composite_gauss_legendre(edges: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The same rule in every panel between neighbouring edges.

    Args:
        edges: Increasing ends of the panels, `(..., M + 1)`.
        count: Number of nodes `n` in a panel.

    Returns:
        Nodes and weights, `(..., M n)` each, in the dtype and on the device of the edges.

    Example:
        >>> nodes, weights = composite_gauss_legendre(torch.tensor([0.0, 1.0, 3.0]).double(), 4)
        >>> (weights * nodes**7).sum()  # exact: 3^8 / 8
        tensor(820.1250, dtype=torch.float64)
    """
    unit, shares = (part.to(edges) for part in gauss_legendre(count))
    widths = edges.diff(dim=-1).unsqueeze(-1)
    nodes = edges[..., :-1].unsqueeze(-1) + widths * unit
    return nodes.flatten(-2), (widths * shares).flatten(-2)
