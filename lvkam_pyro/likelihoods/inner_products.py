"""Inner products of every particle with every datum, by one matrix product."""

import torch
from torch import Tensor


def inner_products(left: Tensor, right: Tensor) -> Tensor:
    r"""Inner products over the last dimension, of batches that broadcast.

    .. math:: c_{sn} = \sum_o a_{so} b_{no}

    Where every batch entry of `left` meets every one of `right` (`left` of shape `(S, 1, O)`,
    `right` of shape `(N, O)`) it is one matrix product: no array of shape `(S, N, O)` is made.

    Args:
        left: Vectors of shape `(..., O)`.
        right: Vectors of shape `(..., O)`, whose batch broadcasts with that of `left`.

    Returns:
        Products of the broadcast batch shape.

    Example:
        >>> inner_products(torch.ones(256, 1, 64), torch.ones(100, 64)).shape
        torch.Size([256, 100])
    """
    if not is_outer(left, right):
        return (left * right).sum(-1)
    shape = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    rows, columns = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    return (rows @ columns.T).view(shape)


def is_outer(left: Tensor, right: Tensor) -> bool:
    """Whether every batch entry of `left` meets every one of `right`, in this order.

    Args:
        left: Vectors of shape `(..., O)`.
        right: Vectors of shape `(..., O)`.

    Example:
        >>> is_outer(torch.ones(7, 1, 3), torch.ones(5, 3))
        True
        >>> is_outer(torch.ones(7, 5, 3), torch.ones(5, 3))
        False
    """
    rank = max(left.ndim, right.ndim) - 1
    first = [1] * (rank - left.ndim + 1) + list(left.shape[:-1])
    second = [1] * (rank - right.ndim + 1) + list(right.shape[:-1])
    last_of_first = max((i for i, size in enumerate(first) if size > 1), default=-1)
    first_of_second = min((i for i, size in enumerate(second) if size > 1), default=rank)
    return last_of_first < first_of_second
