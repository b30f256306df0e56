"""Look-ups in tables with a row for each density of a batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Size, Tensor

_BLOCK = 1 << 15


def search_rows(rows: Tensor, values: Tensor) -> Tensor:
    """The number of entries of each sorted row that are at most each value.

    Arguments:
        rows: Sorted rows, of shape `(M,)` or `(*b, M)`.
        values: Values of shape `(*b, D)`; the leading dimensions of both broadcast.
    """
    if rows.ndim == 1:
        return torch.searchsorted(rows, values.contiguous(), right=True)
    batch = torch.broadcast_shapes(rows.shape[:-1], values.shape[:-1])
    rows, values = (part.expand(*batch, -1).contiguous() for part in (rows, values))
    return torch.searchsorted(rows, values, right=True)


def take_rows(rows: Tensor, index: Tensor) -> Tensor:
    """The entries `index` of each row; the leading dimensions of both broadcast."""
    if rows.ndim == 1:
        return rows[index]
    batch = torch.broadcast_shapes(rows.shape[:-1], index.shape[:-1])
    return rows.expand(*batch, -1).gather(-1, index.expand(*batch, -1))


def locate(edges: Tensor, z: Tensor, batch: Size) -> Tensor:
    """Index of the interval that holds each point, an end interval for points outside.

    Arguments:
        edges: Increasing ends of the intervals, of shape `(M + 1,)` or `(*b, M + 1)`.
        z: Points of shape `(..., *batch)`, to which `b` broadcasts.
        batch: Shape of the batch.
    """
    inner, z = edges[..., 1:-1], z.detach().to(edges.dtype)
    if inner.ndim == 1:
        return search_rows(inner, z)
    rows = inner.expand(*batch, -1).reshape(batch.numel(), -1)
    return search_rows(rows, z.reshape(-1, len(rows)).T).T.reshape(z.shape)


def row_index(batch: Size, like: Tensor) -> Tensor:
    """Indices of the rows of a batch, in its shape and on the device of `like`."""
    return torch.arange(batch.numel(), device=like.device).view(batch)


def choose(table: Tensor, index: Tensor, num_own: int) -> Tensor:
    """`table[batch, index]` for a table `(*batch, P, *own)` with `num_own` dimensions in `own`."""
    *batch, count = table.shape[: table.ndim - num_own]
    row = torch.arange(Size(batch).numel(), device=table.device).view(batch) * count + index
    rows = table.reshape(-1, *table.shape[table.ndim - num_own :])
    return rows.index_select(0, row.reshape(-1)).view(*row.shape, *rows.shape[1:])


def horner(terms: Sequence[Tensor], t: Tensor) -> Tensor:
    """Polynomial `sum_j a_j t^j` with the coefficients `a_j` as a sequence."""
    value = terms[-1]
    for term in terms[-2::-1]:
        value = torch.addcmul(term, value, t)
    return value.expand(torch.broadcast_shapes(value.shape, t.shape))


def in_blocks(
    function: Callable[..., Tensor], *values: Tensor, batch: Size | None = None
) -> Tensor:
    """`function(*values)`, on a processor by blocks that stay in its cache.

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


def apply_shared(function: Callable[[Tensor], Tensor], value: Tensor, own: Size) -> Tensor:
    """A function of values `(..., *own)` at values to whose shape `own` broadcasts.

    Dimensions along which parameters of size 1 serve many values are moved to the front and
    back, so that parameters and their tables are never copied.

    Arguments:
        function: Elementwise, for values whose shape ends in `own`.
        value: Values of at least as many dimensions as `own`.
        own: The shape of the parameters.

    Example:
        >>> apply_shared(lambda z: z + torch.ones(2, 1), torch.zeros(2, 3), Size([2, 1])).shape
        torch.Size([2, 3])
    """
    sizes = zip(own, value.shape[value.ndim - len(own) :], strict=True)
    shared = [dim - len(own) for dim, (size, wanted) in enumerate(sizes) if size != wanted]
    for dim in shared:
        value = value.unsqueeze(0).transpose(0, dim)
    result = function(value)
    for dim in reversed(shared):
        result = result.transpose(0, dim).squeeze(0)
    return result
