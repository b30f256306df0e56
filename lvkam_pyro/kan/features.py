"""Features, in which the functions of a layer are linear: the basis and the base activation."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis
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
        indices = torch.arange(coefficients.shape[1], device=index.device)
        return (_read(coefficients, indices, index, -1) * self.values).sum(-1)


@dataclass(frozen=True)
class LocalFeatures(Features):
    """Features of which few differ from 0 at any point.

    The inputs come last, so that everything runs along rows as long as these are many.

    Attributes:
        values: Those that may differ from 0, ``(..., L, I)``.
        indices: Their indices among an input's features, int64 of the same shape.
        num_features: Their number :math:`C` for an input.
    """

    values: Tensor
    indices: Tensor
    num_features: int

    @property
    def _columns(self) -> Tensor:
        """The indices of the values among the features of all inputs: (..., L I)."""
        return (self.indices + _first(self.indices, self.num_features)).flatten(-2)

    def dense(self) -> Tensor:
        """All features, ``(..., I, C)``."""
        shape = self.values.shape[-1], self.num_features
        flat = spread(self.values.flatten(-2), self._columns, shape[0] * shape[1])
        return flat.unflatten(-1, shape)

    def summed(self, coefficients: Tensor) -> Tensor:
        """The sums over features and inputs, ``(..., O)``: of few rows of the coefficients."""
        return sum_rows(self.values.flatten(-2), self._columns, coefficients.flatten(0, 1))

    def selected(self, coefficients: Tensor, index: Tensor) -> Tensor:
        """The sums over features for one output each, ``(..., I)``: few coefficients are read."""
        return (_read(coefficients, self.indices, index, -2) * self.values).sum(-2)


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
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> basis = BSplineBasis(grid_size=2, degree=1)
        >>> compute_features(basis, torch.tanh, torch.tensor([[0.25, 1.0]])).dense()
        tensor([[[0.5000, 0.5000, 0.0000, 0.2449],
                 [0.0000, 0.0000, 1.0000, 0.7616]]])
    """
    indices, values = basis.nonzero(z)
    base = None if base_activation is None else base_activation(z)
    if values.shape[-1] == basis.num_functions:
        return DenseFeatures(values if base is None else _append(values, base, -1))
    indices, values = indices.movedim(-1, -2), values.movedim(-1, -2)
    num_features = basis.num_functions
    if base is not None:
        last = indices.new_full((1,), num_features).expand(base.shape)
        indices, values = _append(indices, last, -2), _append(values, base, -2)
        num_features += 1
    return LocalFeatures(values, indices, num_features)


def _append(values: Tensor, last: Tensor, dim: int) -> Tensor:
    return torch.cat([values, last.unsqueeze(dim)], dim)


def _first(like: Tensor, stride: int) -> Tensor:
    """The first index of each input, (I,), inputs being last in a tensor."""
    return torch.arange(0, like.shape[-1] * stride, stride, device=like.device)


def _read(coefficients: Tensor, indices: Tensor, index: Tensor, dim: int) -> Tensor:
    """The coefficients (I, C, O) of the features with some indices, for one output an input."""
    stride = coefficients[0].numel()
    outputs = (_first(index, stride) + index).unsqueeze(dim)
    flat = torch.add(outputs, indices, alpha=coefficients.shape[-1])
    return coefficients.flatten().index_select(0, flat.flatten()).view_as(flat)
