"""What the functions of a layer are linear in: the basis and the base activation at points."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.kan.basis import Basis
from lvkam_pyro.kan.rows import spread, sum_rows


class Features(ABC):
    r"""The features :math:`\psi_1, \dots, \psi_C` of every input at points.

    Each way of combining them with coefficients ``(I, C, O)`` has its own form and cost.
    """

    @abstractmethod
    def dense(self) -> Tensor:
        """All features, ``(..., I, C)``."""

    @abstractmethod
    def summed(self, coefficients: Tensor) -> Tensor:
        """The sums over features and inputs, ``(..., O)``."""

    @abstractmethod
    def selected(self, coefficients: Tensor, index: Tensor) -> Tensor:
        """The sums over features for one output each, ``(..., I)`` as the index."""

    def unsummed(self, coefficients: Tensor) -> Tensor:
        """The sums over features, ``(..., I, O)``."""
        return torch.einsum("...ik,iko->...io", self.dense(), coefficients)


@dataclass(frozen=True)
class DenseFeatures(Features):
    """Features none of which is known to be 0.

    Attributes:
        values: The features, ``(..., I, C)``.
    """

    values: Tensor

    def dense(self) -> Tensor:
        """All features, ``(..., I, C)``."""
        return self.values

    def summed(self, coefficients: Tensor) -> Tensor:
        """The sums over features and inputs, ``(..., O)``: one matrix product."""
        return self.values.flatten(-2) @ coefficients.flatten(0, 1)

    def selected(self, coefficients: Tensor, index: Tensor) -> Tensor:
        """The sums over features for one output each, ``(..., I)`` as the index."""
        num_inputs, num_features, _ = coefficients.shape
        numbers = torch.arange(num_inputs * num_features, device=index.device)
        rows = numbers.view(num_inputs, num_features).expand_as(self.values)
        return (_read(coefficients, rows, index.unsqueeze(-1)) * self.values).sum(-1)


@dataclass(frozen=True)
class LocalFeatures(Features):
    """Features of which few differ from 0 at any point.

    The inputs come last, so that everything runs along rows as long as these are many.

    Attributes:
        values: Those that may differ from 0, ``(..., L, I)``.
        rows: Where they are among the features of all inputs, ``i C + c``, of the same shape.
        num_features: Their number :math:`C` for an input.
    """

    values: Tensor
    rows: Tensor
    num_features: int

    def dense(self) -> Tensor:
        """All features, ``(..., I, C)``."""
        shape = self.values.shape[-1], self.num_features
        flat = spread(self.values.flatten(-2), self.rows.flatten(-2), shape[0] * shape[1])
        return flat.unflatten(-1, shape)

    def summed(self, coefficients: Tensor) -> Tensor:
        """The sums over features and inputs, ``(..., O)``: of few rows of the coefficients."""
        matrix = coefficients.flatten(0, 1)
        return sum_rows(self.values.flatten(-2), self.rows.flatten(-2), matrix)

    def selected(self, coefficients: Tensor, index: Tensor) -> Tensor:
        """The sums over features for one output each, ``(..., I)``: few coefficients are read."""
        return (_read(coefficients, self.rows, index.unsqueeze(-2)) * self.values).sum(-2)


def compute_features(
    basis: Basis, base_activation: Callable[[Tensor], Tensor] | None, z: Tensor
) -> Features:
    """The basis functions and, where there is one, the base activation as the last feature.

    Args:
        basis: The basis of ``K`` functions.
        base_activation: An elementwise function, or None.
        z: Points of shape ``(..., I)``.

    Returns:
        ``K + 1`` features, ``K`` without a base activation.

    Example:
        >>> from lvkam_pyro.kan.bspline import BSplineBasis
        >>> basis = BSplineBasis(grid_size=2, degree=1)
        >>> compute_features(basis, torch.tanh, torch.tensor([[0.25, 1.0]])).dense()
        tensor([[[0.5000, 0.5000, 0.0000, 0.2449],
                 [0.0000, 0.0000, 1.0000, 0.7616]]])
    """
    numbers, values = basis.nonzero(z)
    base = None if base_activation is None else base_activation(z)
    if values.shape[-1] == basis.num_functions:
        return DenseFeatures(values if base is None else _append(values, base, -1))
    numbers, values = numbers.movedim(-1, -2), values.movedim(-1, -2)
    num_features = basis.num_functions
    if base is not None:
        last = numbers.new_full((1,), num_features).expand(base.shape)
        numbers, values = _append(numbers, last, -2), _append(values, base, -2)
        num_features += 1
    first = torch.arange(0, z.shape[-1] * num_features, num_features, device=z.device)
    return LocalFeatures(values, numbers + first, num_features)


def _append(values: Tensor, last: Tensor, dim: int) -> Tensor:
    return torch.cat([values, last.unsqueeze(dim)], dim)


def _read(coefficients: Tensor, rows: Tensor, outputs: Tensor) -> Tensor:
    """The coefficients of some rows of ``(I C, O)`` at some outputs."""
    flat = torch.add(outputs, rows, alpha=coefficients.shape[-1])
    return coefficients.flatten().index_select(0, flat.flatten()).view_as(flat)
