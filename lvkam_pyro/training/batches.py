"""The data of a training, bound to the model, and the batches that can be taken of them."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.tracing.program import BoundProgram

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


_MAX_LOOKED_AT = 2**20
"""Entries of the data that a look at the model runs on."""


class WholeDataWarning(UserWarning):
    """Data that cannot be taken apart: each update takes all of them.

    Example:
        >>> issubclass(WholeDataWarning, UserWarning)
        True
    """


def bind_data(model: Program, x: Tensor) -> BoundProgram:
    """The model bound to data that may be larger than memory.

    It is looked at on the first of them, if it runs on these alone, else on all.

    Args:
        model: The Pyro model.
        x: Data (N, ...).

    Raises:
        ValueError: As `bind`.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> bind_data(model, torch.rand(10, 5)).num_units
        10
    """
    if _num_looked_at(x) >= len(x):
        return bind(model, x)
    try:
        program = bind(model, x[: _num_looked_at(x)])
    except (RuntimeError, IndexError):
        # What the model holds has as many rows as the data.
        return bind(model, x)
    return program.on(x) if program.access is not None else bind(model, x)


def bind_guide_of(program: BoundProgram, guide: Program, *, is_density: bool) -> BoundProgram:
    """The program, seen with a guide on as many of its data as the model was looked at.

    Args:
        program: The program on all data.
        guide: The guide.
        is_density: Whether the guide has to be a density.

    Raises:
        ValueError: As `bind_guide`.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> program = bind_data(model, torch.rand(10, 5))
        >>> bind_guide_of(program, lv.PriorGuide(model), is_density=True).num_units
        10
    """
    is_whole = is_small(program) or not program.takes_any
    some = program if is_whole else program.rows(torch.arange(_num_looked_at(program.like)))
    seen = bind_guide(some, guide, is_density=is_density)
    return replace(program, access=seen.access, refusal=seen.refusal, stacks=seen.stacks)


def is_small(program: BoundProgram) -> bool:
    """Whether programs can run on all data at once without a second thought.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> is_small(bind_data(model, torch.rand(10, 5)))
        True
    """
    return _num_looked_at(program.like) >= len(program.like)


def _num_looked_at(x: Tensor) -> int:
    return max(1, _MAX_LOOKED_AT // max(1, x[:1].numel()))


def batch_indices(program: BoundProgram, order: Tensor, batch_size: int) -> list[Tensor]:
    """The indices of the data of each update.

    Args:
        program: The program on all data.
        order: The indices of all data, shuffled, `(N,)`.
        batch_size: The number of data of an update; a program that subsamples by itself has its
            own.

    Returns:
        The indices, `(B,)` each: all of them at once where the data cannot be taken apart.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> program = bind_data(model, torch.rand(10, 5))
        >>> [len(batch) for batch in batch_indices(program, torch.randperm(10), 4)]
        [4, 4, 2]
    """
    if program.access is None:
        return [torch.arange(program.num_units, device=order.device)]
    size = program.subsample_size
    if size is None:
        return list(order.split(batch_size))
    missing = -len(order) % size
    return list(torch.cat([order, order[:missing]]).split(size))


def take(program: BoundProgram, index: Tensor) -> BoundProgram:
    """The program on the data of an update; on all of them where they cannot be taken apart.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> take(bind_data(model, torch.rand(10, 5)), torch.tensor([3, 1])).num_units
        2
    """
    return program if program.access is None else program.rows(index)


def some_batches(program: BoundProgram, batch_size: int) -> list[BoundProgram]:
    """The program on evenly spaced data, in batches.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> len(some_batches(bind_data(model, torch.rand(10, 5)), 4))
        3
    """
    index = torch.arange(program.num_units)
    if program.access is not None:
        index = torch.arange(0, program.num_units, _spacing(program))
    return [take(program, batch) for batch in batch_indices(program, index, batch_size)]


def _spacing(program: BoundProgram) -> int:
    x = program.like
    return -(-len(x) // len(evenly_spaced(x)))


def warn_of_whole_data(program: BoundProgram, batch_size: int) -> None:
    """Says that updates take all data, where smaller batches were asked for.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> warn_of_whole_data(bind_data(model, torch.rand(10, 5)), 4)
    """
    if program.access is None and batch_size < len(program.like):
        warnings.warn(
            f"The data cannot be taken apart, so each update takes all {len(program.like)} of "
            f"them: {program.refusal}.",
            WholeDataWarning,
            stacklevel=4,
        )
