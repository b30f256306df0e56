"""Bases whose functions reach over the whole domain."""

from abc import abstractmethod

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.extrapolation import CONSTANT, Extrapolation
from lvkam_pyro.options import check_count


class DenseBasis(Basis):
    r"""A basis none of whose functions is 0 on a whole interval.

    A subclass defines ``num_cells``, ``values_inside`` and ``slopes_at_ends``, and where fresh
    coefficients should not all be of one size, ``coefficient_scales``.

    Attributes:
        indices: The buffer :math:`0, \dots, K - 1`, ``(K,)``, in the precision and on the device of
            the module, for formulas in which a function's index occurs.

    Args:
        num_functions: The number of functions :math:`K`.
        domain: The ends of the interval.
        extrapolation: How the functions go on outside.

    Raises:
        ValueError: If there is no function, the domain is not an interval, or the extrapolation
            is not for this basis.
        TypeError: If the extrapolation is of the wrong type.

    Example:
        >>> class MonomialBasis(DenseBasis):
        ...     @property
        ...     def num_cells(self):
        ...         return self.num_functions
        ...
        ...     def values_inside(self, z):
        ...         return z[..., None] ** self.indices.to(z.dtype)
        ...
        ...     def slopes_at_ends(self, dtype):
        ...         return torch.stack([self.indices == 1, self.indices]).to(dtype)
        >>> MonomialBasis(3, (0.0, 1.0))(torch.tensor([0.5, 1.0]))
        tensor([[1.0000, 0.5000, 0.2500],
                [1.0000, 1.0000, 1.0000]])
    """

    indices: Tensor

    def __init__(
        self,
        num_functions: int = 8,
        domain: tuple[float, float] = (0.0, 1.0),
        *,
        extrapolation: Extrapolation = CONSTANT,
    ) -> None:
        super().__init__(domain, extrapolation=extrapolation)
        self.num_functions = check_count("num_functions", num_functions)
        indices = torch.arange(num_functions, dtype=torch.get_default_dtype())
        self.register_buffer("indices", indices, persistent=False)

    @property
    @abstractmethod
    def num_cells(self) -> int:
        """The number of cells on each of which the functions hardly turn."""

    @property
    def breakpoints(self) -> Tensor:
        """The ends of equal cells, ``(G+1,)``, in the precision and on the device of the module."""
        return self._spread(*self.domain, self.num_cells + 1)

    @abstractmethod
    def values_inside(self, z: Tensor) -> Tensor:
        """All functions at points ``(...)`` inside the domain, up to rounding: ``(..., K)``."""

    def nonzero_inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The indices and values of all functions, both ``(..., K)``."""
        values = self.values_inside(z)
        return torch.arange(self.num_functions, device=z.device).expand_as(values), values

    def coefficient_scales(self) -> Tensor:
        """The relative standard deviations of fresh coefficients, ``(K,)``: here all the same."""
        return torch.ones_like(self.indices)

    def noise_to_coefficients(self) -> Tensor:
        """Independent coefficients, ``(K, K)``: functions that overlap need no fit."""
        return torch.diag(self.coefficient_scales().double())

    def extra_repr(self) -> str:
        """The arguments that are not modules."""
        return f"num_functions={self.num_functions}, {self._describe_domain()}"

    def _spread(self, low: float, high: float, count: int) -> Tensor:
        """Equally spaced points in the precision and on the device of the module."""
        like = self.indices
        return torch.linspace(low, high, count, dtype=like.dtype, device=like.device)
