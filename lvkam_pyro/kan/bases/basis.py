"""The base of all bases: the interface of univariate functions to a KAN layer."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lvkam_pyro.kan.bases.extrapolation import CONSTANT, AnalyticExtrapolation, Extrapolation


class Basis(nn.Module, ABC):
    r"""A family of univariate functions :math:`\phi_1, \dots, \phi_K` on an interval.

    Outside the domain, and at infinities, the functions go on as ``extrapolation`` says. At a NaN
    they are NaN, without an error: looking for one would make every evaluation wait for the
    accelerator.

    Implementing a basis:

    - Inherit from ``Basis`` and call ``super().__init__(domain, extrapolation=...)``; or from
      ``DenseBasis``, where no function is 0 on a whole interval.
    - Define the attribute ``num_functions``.
    - Define ``breakpoints``, ``(G+1,)``: between two neighbours every function is smooth enough
      for a composite quadrature. A basis with other knots for each of ``I`` inputs has
      breakpoints ``(I, G+1)``, and takes points of shape ``(..., I)`` only. In every row the
      first and last are the ends of the domain.
    - Define ``nonzero_inside``, the functions at points inside the domain, and
      ``slopes_at_ends``, their derivatives at its ends.
    - Where the formula is bounded on the whole line, set ``is_bounded_everywhere``.

    Args:
        domain: The ends of the interval, ``low < high``, both finite.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default.

    Raises:
        ValueError: If the domain is not an interval, or the extrapolation is not for this basis.
        TypeError: If the extrapolation is of the wrong type.

    Example:
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> isinstance(BSplineBasis(), Basis)
        True
    """

    num_functions: int
    is_bounded_everywhere = False

    def __init__(
        self, domain: tuple[float, float], *, extrapolation: Extrapolation = CONSTANT
    ) -> None:
        super().__init__()
        low, high = domain
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"Expected a domain (low, high) of finite numbers with low < high, got {domain}."
            )
        self._check_extrapolation(extrapolation)
        self.domain = (float(low), float(high))
        self.extrapolation = extrapolation

    @property
    @abstractmethod
    def breakpoints(self) -> Tensor:
        """The ends of the cells, ``(G+1,)`` or ``(I, G+1)``, increasing from low to high end."""

    @abstractmethod
    def nonzero_inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``nonzero`` at points inside the domain: what a basis defines.

        Args:
            z: Points of shape ``(...)``, inside the domain up to rounding, or NaN.

        Returns:
            The indices of the functions and their values, both of shape ``(..., L)``.
        """

    @abstractmethod
    def slopes_at_ends(self, dtype: torch.dtype) -> Tensor:
        """The derivatives at the ends, inside the domain: what a basis defines.

        Args:
            dtype: The precision of the result, whatever that of the basis.

        Returns:
            The derivatives of the functions that ``nonzero_inside`` lists at the low and the high
            end, ``(2, L)``; ``(2, I, L)`` for a basis with knots for each input.
        """

    def nonzero(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The functions that may differ from 0 at ``z``.

        Args:
            z: Points of shape ``(...)``; ``(..., I)`` for a basis with knots for each input.

        Returns:
            The indices of the functions, increasing, and their values, both of shape
            ``(..., L)``.
        """
        return self.extrapolation(self, z)

    def noise_to_coefficients(self) -> Tensor:
        """The linear map from independent standard normal values to fresh coefficients.

        Here: the least-squares fit of least norm to one value at each breakpoint.

        Returns:
            The map in float64, ``(K, M)``; ``(I, K, M)`` for a basis with knots for each input.
        """
        at_breakpoints = self(self.breakpoints.double().movedim(-1, 0)).movedim(0, -2)
        return torch.linalg.pinv(at_breakpoints)

    def forward(self, z: Tensor) -> Tensor:
        """All functions at ``z`` of shape ``(...)``: ``(..., K)``."""
        indices, values = self.nonzero(z)
        if values.shape[-1] == self.num_functions:
            return values
        return values.new_zeros(*z.shape, self.num_functions).scatter(-1, indices, values)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Adds the domain, without which the functions are not known, in float64."""
        super()._save_to_state_dict(destination, prefix, *args)
        destination[f"{prefix}domain"] = torch.tensor(self.domain, dtype=torch.float64)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Takes the domain of a state that has one; states of old have none."""
        domain = state.pop(f"{prefix}domain", None)
        if domain is not None:
            low, high = domain.tolist()
            self.domain = low, high
        super()._load_from_state_dict(state, prefix, *args)

    def _check_extrapolation(self, extrapolation: object) -> None:
        if not isinstance(extrapolation, Extrapolation):
            raise TypeError(
                "Expected an extrapolation such as ConstantExtrapolation() or "
                f"LinearExtrapolation(), got {extrapolation!r}."
            )
        if isinstance(extrapolation, AnalyticExtrapolation) and not self.is_bounded_everywhere:
            raise ValueError(
                "Expected a ConstantExtrapolation() or LinearExtrapolation() for a "
                f"{type(self).__name__}, whose formula explodes outside its domain, got "
                f"{extrapolation}."
            )

    def _describe_domain(self) -> str:
        """The end of ``extra_repr``: the domain, and the extrapolation where not constant."""
        other = "" if self.extrapolation == CONSTANT else f", extrapolation={self.extrapolation}"
        return f"domain={self.domain}{other}"
