"""The base of the B-splines: functions known by their polynomials in each cell."""

from abc import abstractmethod

import torch
from torch import Size, Tensor
from torch.nn import functional as F

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.extrapolation import Extrapolation

MAX_DEGREE = 5


class SplineBasis(Basis):
    r"""B-splines of degree :math:`d` on :math:`G` cells: :math:`K = G + d` functions.

    The abstract base of ``BSplineBasis`` and ``NonUniformBSplineBasis``. In cell :math:`g` exactly
    :math:`d + 1` functions, :math:`\phi_g, \dots, \phi_{g+d}`, differ from 0.

    Args:
        domain: The ends of the grid.
        degree: The degree :math:`d`, 0 to 5.
        shape: The shape of the breakpoints, ``(G+1,)``, or ``(I, G+1)`` for knots for each input.
        extrapolation: How the functions go on outside.

    Raises:
        ValueError: If the domain or the degree is out of range.
        TypeError: If the extrapolation is of the wrong type.
    """

    def __init__(
        self, domain: tuple[float, float], degree: int, shape: Size, extrapolation: Extrapolation
    ) -> None:
        super().__init__(domain, extrapolation=extrapolation)
        if degree not in range(MAX_DEGREE + 1):
            raise ValueError(f"Expected a degree from 0 to {MAX_DEGREE}, got {degree}.")
        self.degree = degree
        self.grid_size = shape[-1] - 1
        self.num_functions = self.grid_size + degree
        self._shape = (*shape[:-1], self.num_functions)

    @abstractmethod
    def local(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""The cell of each point and the functions that are not 0 there.

        Args:
            z: Points of the domain of shape ``(...)``; ``(..., I)`` with knots for each input.

        Returns:
            The cells :math:`g`, integers of the shape of ``z``, and the values
            :math:`\phi_{g+j}(z), j = 0, \dots, d`, of shape ``(..., degree+1)``.
        """

    @abstractmethod
    def _polynomials(self, dtype: torch.dtype) -> Tensor:
        """The coefficients M of each cell: ``([I,] [G,] degree+1 functions, degree+1 powers)``."""

    def nonzero_inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The indices and values, both ``(..., degree+1)``, of the functions that are not 0."""
        cell, values = self.local(z)
        steps = torch.arange(self.degree + 1, device=cell.device).view(-1, *[1] * cell.dim())
        return (cell + steps).movedim(0, -1), values

    def to_polynomials(self, coefficients: Tensor) -> Tensor:
        r"""The polynomial of each cell of the splines :math:`\sum_k c_k \phi_k`.

        Args:
            coefficients: Spline coefficients :math:`c` of shape ``(..., K)``; ``(..., I, K)`` with
                knots for each input.

        Returns:
            The coefficients :math:`a` of shape ``(..., G, degree+1)``, with which the spline in
            cell :math:`g` is :math:`\sum_j a_{gj} t^j`, where :math:`t \in [0, 1]` is the position
            inside the cell. Differentiable.

        Raises:
            ValueError: If the last dimensions are wrong.

        Example:
            >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
            >>> BSplineBasis(grid_size=2, degree=1).to_polynomials(torch.tensor([1.0, 3.0, 2.0]))
            tensor([[ 1.,  2.],
                    [ 3., -1.]])
        """
        if coefficients.shape[-len(self._shape) :] != self._shape:
            raise ValueError(
                f"Expected coefficients of shape (..., {', '.join(map(str, self._shape))}), one "
                f"for each basis function, got {tuple(coefficients.shape)}."
            )
        windows = coefficients.unfold(-1, self.degree + 1, 1).unsqueeze(-2)
        return (windows @ self._polynomials(coefficients.dtype)).squeeze(-2)


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
