"""Weighted sums of a few rows of a matrix: the product with a matrix that is mostly zeros."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL_PRODUCT = 4_000_000
"""The multiplications of a dense product below which calling anything else costs more."""


def sum_rows(weights: Tensor, rows: Tensor, matrix: Tensor) -> Tensor:
    r"""Sums of weighted rows.

    .. math:: y_{no} = \sum_m w_{nm} A_{r_{nm} o}

    The same as ``spread(weights, rows, R) @ matrix`` up to rounding, with all derivatives and
    under every transform of ``torch.func``. Where torch has a kernel that reads only the rows
    named, it is the forward pass; the backward pass goes over the dense product, which is
    faster there.

    Args:
        weights: The weights :math:`w`, ``(..., M)``.
        rows: The indices :math:`r` of the rows, int64 of the same shape, all different along the
            last dimension.
        matrix: The matrix :math:`A`, ``(R, O)``.

    Returns:
        The sums :math:`y`, ``(..., O)``.

    Example:
        >>> matrix = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
        >>> sum_rows(torch.tensor([[1.0, 0.5]]), torch.tensor([[2, 0]]), matrix)
        tensor([[ 3.5000, 35.0000]])
    """
    if not _has_kernel(weights, matrix):
        return _multiply(weights, rows, matrix)
    flat = weights.flatten(0, -2), rows.flatten(0, -2)
    sums: Tensor = _SumRows.apply(*flat, matrix)  # type: ignore[no-untyped-call]
    return sums.view(*weights.shape[:-1], matrix.shape[-1])


def spread(weights: Tensor, columns: Tensor, num_columns: int) -> Tensor:
    """The vectors that have the weights in the columns named and 0 elsewhere.

    Args:
        weights: The weights, ``(..., M)``.
        columns: Where they go, int64 of the same shape, all different along the last dimension.
        num_columns: The length of the vectors.

    Returns:
        The vectors, ``(..., num_columns)``.

    Example:
        >>> spread(torch.tensor([1.0, 2.0]), torch.tensor([3, 0]), 4)
        tensor([2., 0., 0., 1.])
    """
    # One 0 made as large as needed is copied once; a tensor of zeros would be made and copied.
    zeros = weights.new_zeros(()).expand(*weights.shape[:-1], num_columns)
    return zeros.scatter(-1, columns, weights)


def _multiply(weights: Tensor, rows: Tensor, matrix: Tensor) -> Tensor:
    return spread(weights, rows, matrix.shape[0]) @ matrix


def _has_kernel(weights: Tensor, matrix: Tensor) -> bool:
    """Whether the embedding kernel is the faster one: in single precision on a processor."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False  # Neither can read the derivatives below; a compiler makes kernels itself.
    if weights.dim() < 2 or math.prod(weights.shape[:-1]) * matrix.numel() < SMALL_PRODUCT:
        return False
    return weights.dtype == matrix.dtype == torch.float32 and weights.device.type == "cpu"


class _SumRows(torch.autograd.Function):
    """The sums by the embedding kernel, with derivatives in operations that have derivatives."""

    @staticmethod
    def forward(weights: Tensor, rows: Tensor, matrix: Tensor) -> Tensor:
        return F.embedding_bag(rows, matrix, per_sample_weights=weights, mode="sum")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, Tensor | None]:  # noqa: ANN401
        weights, rows, matrix = ctx.saved_tensors
        wants_weights, _, wants_matrix = ctx.needs_input_grad
        to_weights = (upstream @ matrix.T).gather(-1, rows) if wants_weights else None
        to_matrix = spread(weights, rows, matrix.shape[0]).T @ upstream if wants_matrix else None
        return to_weights, None, to_matrix

    @staticmethod
    def jvp(ctx: Any, to_weights: Tensor | None, _: None, to_matrix: Tensor | None) -> Tensor:  # noqa: ANN401
        weights, rows, matrix = ctx.saved_tensors
        tangent = matrix.new_zeros(())
        if to_weights is not None:
            tangent = tangent + _multiply(to_weights, rows, matrix)
        if to_matrix is not None:
            tangent = tangent + _multiply(weights, rows, to_matrix)
        return tangent

    @staticmethod
    def vmap(info: object, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        return torch.vmap(_multiply, in_dims)(*inputs), 0
