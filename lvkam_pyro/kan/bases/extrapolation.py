"""Extrapolations: constant, linear or by the formula, outside the domain of a basis."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Functions(Protocol):
    """The part of a basis that an extrapolation needs."""

    domain: tuple[float, float]

    def nonzero_inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The indices and values, ``(..., L)``, of the functions at points of the domain."""

    def slopes_at_ends(self, dtype: torch.dtype) -> Tensor:
        """The derivatives of these functions at both ends, ``(2, L)`` or ``(2, I, L)``."""


class Extrapolation(ABC):
    """A way for the functions of a basis to go on outside its domain.

    A subclass defines ``__call__``, which evaluates functions known inside a domain anywhere.

    Example:
        >>> from lvkam_pyro.kan.bases.fourier import FourierBasis
        >>> class PeriodicExtrapolation(Extrapolation):
        ...     def __call__(self, functions, z):
        ...         low, high = functions.domain
        ...         return functions.nonzero_inside(low + (z - low) % (high - low))
        >>> basis = FourierBasis(3, extrapolation=PeriodicExtrapolation())
        >>> torch.allclose(basis(torch.tensor(2.25)), basis(torch.tensor(0.25)))
        True
    """

    @abstractmethod
    def __call__(self, functions: Functions, z: Tensor) -> tuple[Tensor, Tensor]:
        """The functions that may differ from 0 at any points.

        Args:
            functions: The basis.
            z: Points inside or outside the domain, of shape ``(...)``.

        Returns:
            The indices of the functions and their values, both of shape ``(..., L)``.
        """


@dataclass(frozen=True)
class ConstantExtrapolation(Extrapolation):
    r"""Every function keeps the value of the nearest end: what densities use.

    .. math:: \phi_k(z) = \phi_k(\min(\max(z, a), b)) \qquad \text{on the domain } [a, b]

    The gradient outside is 0. An infinite ``z`` has the value of an end; a NaN stays one.

    Example:
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> hat = BSplineBasis(grid_size=1, degree=1, extrapolation=ConstantExtrapolation())
        >>> hat(torch.tensor([1.0, 3.0]))
        tensor([[0., 1.],
                [0., 1.]])
    """

    def __call__(self, functions: Functions, z: Tensor) -> tuple[Tensor, Tensor]:
        """The functions at the nearest points of the domain."""
        return functions.nonzero_inside(z.clamp(*functions.domain))


@dataclass(frozen=True)
class LinearExtrapolation(Extrapolation):
    r"""Every function goes on along its tangent at the nearest end.

    .. math:: \phi_k(z) = \phi_k(e) + (z - e) \, \phi_k'(e) \qquad
              \text{with the nearest end } e \text{ of the domain}

    So a point outside keeps a gradient that can bring it back: the choice for generators whose
    inputs may leave the domain. Inside, nothing changes. At an infinite ``z`` a function whose
    slope at the end is 0 is NaN, the others are infinite. Densities keep their constant tails.

    Example:
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> hat = BSplineBasis(grid_size=1, degree=1, extrapolation=LinearExtrapolation())
        >>> hat(torch.tensor([1.0, 3.0]))
        tensor([[ 0.,  1.],
                [-2.,  3.]])
    """

    def __call__(self, functions: Functions, z: Tensor) -> tuple[Tensor, Tensor]:
        """The functions at the nearest points of the domain, and the tangents from there."""
        inside = z.clamp(*functions.domain)
        indices, values = functions.nonzero_inside(inside)
        beyond = (z - inside).unsqueeze(-1)
        at_low, at_high = functions.slopes_at_ends(z.dtype).unbind()
        return indices, torch.addcmul(values, beyond, torch.where(beyond < 0, at_low, at_high))


@dataclass(frozen=True)
class AnalyticExtrapolation(Extrapolation):
    r"""The formula of the functions goes on: Fourier functions repeat, radial ones decay to 0.

    For bases whose formula is bounded on the whole line only; B-splines and Chebyshev polynomials
    refuse it, because polynomials explode outside their domain.

    Example:
        >>> from lvkam_pyro.kan.bases.radial import RBFBasis
        >>> basis = RBFBasis(num_functions=2, extrapolation=AnalyticExtrapolation())
        >>> basis(torch.tensor([1.0, 100.0]))
        tensor([[0.6065, 1.0000],
                [0.0000, 0.0000]])
    """

    def __call__(self, functions: Functions, z: Tensor) -> tuple[Tensor, Tensor]:
        """The functions by their own formula."""
        return functions.nonzero_inside(z)


CONSTANT = ConstantExtrapolation()
"""The default of every basis."""
