"""Knots of B-splines, and their polynomials in each cell."""

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_DEGREE = 5


def function_indices(cell: Tensor, degree: int) -> Tensor:
    """Indices of the functions that differ from 0 in cells ``(...)``: ``(..., degree+1)``."""
    steps = torch.arange(degree + 1, device=cell.device).view(-1, *[1] * cell.dim())
    return (cell + steps).movedim(0, -1)


def extend(breakpoints: Tensor, degree: int) -> Tensor:
    """The knots: the breakpoints ``(..., G+1)`` and ``degree`` more on each side."""
    steps = torch.arange(1, degree + 1, dtype=breakpoints.dtype, device=breakpoints.device)
    widths = breakpoints.diff(dim=-1)
    below = breakpoints[..., :1] - steps.flip(-1) * widths[..., :1]
    return torch.cat([below, breakpoints, breakpoints[..., -1:] + steps * widths[..., -1:]], -1)


def cell_polynomials(breakpoints: Tensor, degree: int) -> Tensor:
    r"""The polynomials of all B-splines in every cell.

    The Cox-de Boor recursion on polynomials of the position :math:`t` in a cell, over the knots
    :math:`\tau` that continue the breakpoints by ``degree`` cells as wide as the outermost:

    .. math:: N^d_m(z) = \frac{z - \tau_m}{\tau_{m+d} - \tau_m} N^{d-1}_m(z)
        + \frac{\tau_{m+d+1} - z}{\tau_{m+d+1} - \tau_{m+1}} N^{d-1}_{m+1}(z).

    Args:
        breakpoints: The ends of the cells, ``(..., G+1)``, increasing.
        degree: The degree :math:`d`.

    Returns:
        The coefficients of ascending powers of :math:`t` of the ``degree+1`` functions that differ
        from 0 in each cell, ``(..., G, degree+1 functions, degree+1 powers)``.

    References:
        de Boor, C. (1978). A Practical Guide to Splines, chapter X, equation 5.

    Example:
        >>> cell_polynomials(torch.tensor([0.0, 1.0, 3.0]), 1)[1]
        tensor([[ 1., -1.],
                [ 0.,  1.]])
    """
    # knots[..., m] of cell g: the 2 degree + 2 knots around it, the cell being the middle pair.
    knots = extend(breakpoints, degree).unfold(-1, 2 * degree + 2, 1)
    start = knots[..., degree].unsqueeze(-1)
    width = knots[..., degree + 1].unsqueeze(-1) - start
    values = torch.ones_like(start).unsqueeze(-1)
    for d in range(1, degree + 1):
        left, right = (
            knots[..., degree + 1 - d : degree + 1],
            knots[..., degree + 1 : degree + 1 + d],
        )
        values = values / (right - left).unsqueeze(-1)
        rising = _times_line(values, start - left, width)
        falling = _times_line(values, right - start, -width)
        values = F.pad(rising, (0, 0, 1, 0)) + F.pad(falling, (0, 0, 0, 1))
    return values


def _times_line(polynomials: Tensor, constant: Tensor, slope: Tensor) -> Tensor:
    """The polynomials (..., powers) times (constant + slope t)."""
    by_constant = F.pad(polynomials * constant.unsqueeze(-1), (0, 1))
    return by_constant + F.pad(polynomials * slope.unsqueeze(-1), (1, 0))


def scaled_cell_polynomials(degree: int) -> list[list[int]]:
    r"""The integers :math:`d!\, M_{jp}` of the uniform B-splines in one cell.

    The Cox-de Boor recursion on polynomials: with :math:`N^d_j = d!\, \phi_{g+j}`,

    .. math:: N^d_j(t) = (t + d - j) N^{d-1}_{j-1}(t) + (1 + j - t) N^{d-1}_j(t).

    Args:
        degree: The degree :math:`d`.

    Returns:
        ``degree+1`` rows, one a function, of ``degree+1`` coefficients of ascending powers.

    References:
        de Boor, C. (1978). A Practical Guide to Splines, chapter X, equation 5.

    Example:
        >>> scaled_cell_polynomials(2)
        [[1, -2, 1], [1, 2, -2], [0, 0, 1]]
    """
    rows = [[1]]
    for d in range(1, degree + 1):
        padded = [[0] * d, *rows, [0] * d]
        rows = [
            _sum(
                _times_integers(padded[j], d - j, 1),
                _times_integers(padded[j + 1], 1 + j, -1),
            )
            for j in range(d + 1)
        ]
    return rows


def _times_integers(polynomial: list[int], constant: int, slope: int) -> list[int]:
    """The polynomial times (constant + slope t)."""
    return _sum([constant * a for a in [*polynomial, 0]], [slope * a for a in [0, *polynomial]])


def _sum(left: list[int], right: list[int]) -> list[int]:
    return [a + b for a, b in zip(left, right, strict=True)]
