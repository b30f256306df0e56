"""Elementwise functions of many points, a block of them at a time."""

from collections.abc import Callable

import torch
from torch import Size, Tensor

_BLOCK = 1 << 15


def in_blocks(
    function: Callable[..., Tensor], *values: Tensor, batch: Size | None = None
) -> Tensor:
    """`function(*values)`, where on a processor so many at a time as stay in its cache.

    Five times as fast for a million points: larger arrays are written to memory and read again in
    every step. An accelerator takes them all at once.

    Arguments:
        function: Elementwise; takes tensors of shape `(..., *batch)` and returns this shape.
        values: Tensors of one shape `(..., *batch)`.
        batch: The trailing shape that is kept whole. Default: none.

    Example:
        >>> in_blocks(torch.add, torch.ones(100_000), torch.ones(100_000)).sum()
        tensor(200000.)
    """
    batch = Size() if batch is None else batch
    shape = values[0].shape
    if values[0].numel() <= _BLOCK or values[0].device.type != "cpu":
        return function(*values)
    size = max(1, _BLOCK // batch.numel())
    blocks = zip(*(each.reshape(-1, *batch).split(size) for each in values), strict=True)
    return torch.cat([function(*block) for block in blocks]).view(shape)
