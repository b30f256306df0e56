"""Data that may be larger than memory: looked at in parts, and sampled where a whole is needed."""

import math
from collections.abc import Iterator

from torch import Tensor

_CHUNK_NUMBERS = 2**22
_SAMPLE_ROWS = 2**14
_SAMPLE_NUMBERS = 2**26


def row_chunks(x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The data in parts of some 4 million entries, which are views.

    Args:
        x: Data (N, ...), such as a tensor that shares the memory of a mapped file.

    Yields:
        The row at which a part begins, and the part.

    Example:
        >>> import torch
        >>> [(first, len(part)) for first, part in row_chunks(torch.zeros(5, 2**21))]
        [(0, 2), (2, 2), (4, 1)]
    """
    rows = max(1, _CHUNK_NUMBERS // max(1, math.prod(x.shape[1:])))
    return ((first, x[first : first + rows]) for first in range(0, len(x), rows))


def evenly_spaced(x: Tensor) -> Tensor:
    """Rows at equal distances, as a view: all of them, unless there are too many.

    Args:
        x: Data (N, ...).

    Returns:
        Every k-th row, with the smallest k that leaves at most 16,384 rows and 64 million entries.

    Example:
        >>> import torch
        >>> evenly_spaced(torch.arange(40_000))
        tensor([    0,     3,     6,  ..., 39993, 39996, 39999])
    """
    most = max(1, min(_SAMPLE_ROWS, _SAMPLE_NUMBERS // max(1, math.prod(x.shape[1:]))))
    return x[:: math.ceil(len(x) / most)]
