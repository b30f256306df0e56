"""The Chebyshev basis."""

import math

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.dense import DenseBasis


class ChebyshevBasis(DenseBasis):
    r"""Chebyshev polynomials of the first kind.

    .. math:: \phi_{k+1}(z) = T_k(x), \quad k = 0, \dots, K-1, \qquad
              x = \frac{2 z - a - b}{b - a}, \qquad T_k(\cos \theta) = \cos k \theta

    on the domain :math:`[a, b]`, by recurrence and not by the formula's arc cosine, whose
    gradient is infinite at the ends and not a number beyond them. With the distance
    :math:`s` from the nearer end the recurrence is

    .. math:: D_{k+1} = D_k - 4 s T_k, \quad T_{k+1} = T_k + D_{k+1}, \quad
              s = (1 - |x|) / 2, \quad D_0 = 2 s, \quad T_0 = 1

    which loses no digits near the ends, where :math:`T_k' = k^2`. Odd functions change their sign
    with :math:`x`. Fresh coefficients fall as :math:`1/k^2`, so that a fresh function is smooth.

    Args:
        num_functions: The number of functions :math:`K`: degrees 0 to :math:`K - 1`.
        domain: The interval of ``z``.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If the extrapolation is of the wrong type.

    References:
        SS, S. et al. (2024). Chebyshev Polynomial-Based Kolmogorov-Arnold Networks.
        https://arxiv.org/abs/2405.07200
        The recurrence near an end is in the manner of Reinsch: Gentleman, W. M. (1969). An error
        analysis of Goertzel's (Watt's) method. The Computer Journal 12, 160-164.

    Example:
        >>> ChebyshevBasis(4, domain=(-1.0, 1.0))(torch.tensor([0.5, 1.0, 20.0]))
        tensor([[ 1.0000,  0.5000, -0.5000, -1.0000],
                [ 1.0000,  1.0000,  1.0000,  1.0000],
                [ 1.0000,  1.0000,  1.0000,  1.0000]])
    """

    @property
    def num_cells(self) -> int:
        """One cell between two extrema of the last function."""
        return max(self.num_functions - 1, 1)

    @property
    def breakpoints(self) -> Tensor:
        """The extrema of the last function, ``(G+1,)``: closer near the ends, where it turns."""
        low, high = self._spread(*self.domain, 2)
        angles = self._spread(0, math.pi / 2, self.num_cells + 1)
        return torch.lerp(low, high, angles.sin().square())

    def values_inside(self, z: Tensor) -> Tensor:
        """All functions at ``z`` of shape ``(...)``: ``(..., K)``."""
        low, high = self.domain
        is_left = z < 0.5 * (low + high)
        four_s = torch.where(is_left, z - low, high - z) * (4 / (high - low))
        values = [torch.ones_like(z) + 0 * z]
        step = 0.5 * four_s
        for _ in range(self.num_functions - 1):
            step = step - four_s * values[-1]
            values.append(values[-1] + step)
        signs = torch.where(is_left, -1, 1).to(z.dtype)
        return torch.stack([v if k % 2 == 0 else signs * v for k, v in enumerate(values)], -1)

    def slopes_at_ends(self, dtype: torch.dtype) -> Tensor:
        r"""The derivatives :math:`\pm k^2` times the slope of ``x`` at both ends: ``(2, K)``."""
        low, high = self.domain
        at_high = self.indices.to(dtype).square() * (2 / (high - low))
        return torch.stack([torch.where(self.indices % 2 == 0, -at_high, at_high), at_high])

    def coefficient_scales(self) -> Tensor:
        """The inverse squares of the degrees, 1 for the constant: ``(K,)``."""
        return self.indices.clamp(min=1) ** -2
