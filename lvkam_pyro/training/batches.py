"""The data of a training, bound to the model, and the batches that can be taken of them."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, Program, RowAccess
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.structure import Unit

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
    return x[:: _spacing(len(x), math.prod(x.shape[1:]))]


def evenly_spaced_arguments(program: BoundProgram) -> Arguments:
    """The arguments of a program at evenly spaced data, as views; see `evenly_spaced`.

    Example:
        >>> def model(x, times):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z * times, 1.0), obs=x)
        >>> import pyro, pyro.distributions as dist
        >>> arguments = Arguments((torch.rand(40_000), torch.rand(40_000)), {})
        >>> [len(tensor) for tensor in evenly_spaced_arguments(bind_data(model, arguments)).tensors]
        [13334, 13334]
    """
    size = num_data(program)
    step = _spacing(size, _row_numbers(program.arguments, size))
    return program.arguments.map(lambda tensor: tensor[::step] if _has(tensor, size) else tensor)


def num_data(program: BoundProgram) -> int:
    """The number of data: of the units, or of the rows where the data set is one unit.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> num_data(lv.bind(model, torch.rand(10, 5)))
        10
    """
    return program.num_units if program.unit is Unit.DATUM else program.arguments.longest


def _spacing(num_rows: int, row_numbers: int) -> int:
    most = max(1, min(_SAMPLE_ROWS, _SAMPLE_NUMBERS // max(1, row_numbers)))
    return -(-num_rows // most)


def _has(tensor: Tensor, num_rows: int) -> bool:
    return tensor.shape[:1] == (num_rows,)


def _row_numbers(arguments: Arguments, num_rows: int) -> int:
    """The numbers of a datum in all tensors that have a row for it."""
    return sum(math.prod(t.shape[1:]) for t in arguments.tensors if _has(t, num_rows))


_MAX_LOOKED_AT = 2**20
"""Entries of the data that a look at the model runs on."""


class WholeDataWarning(UserWarning):
    """Data that cannot be taken apart: each update takes all of them.

    Example:
        >>> issubclass(WholeDataWarning, UserWarning)
        True
    """


def bind_data(model: Program, data: Arguments) -> BoundProgram:
    """The model bound to data that may be larger than memory.

    It is looked at on the first of them, if it runs on these alone, else on all.

    Args:
        model: The Pyro model.
        data: Its arguments.

    Raises:
        ValueError: As `bind`.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> bind_data(model, Arguments((torch.rand(10, 5),), {})).num_units
        10
    """
    size = data.longest
    count = _num_looked_at(data, size)
    if count >= size:
        return bind(model, *data.args, **data.kwargs)
    first = data.rows(torch.arange(count), size, RowAccess.ARGUMENTS)
    try:
        program = bind(model, *first.args, **first.kwargs)
    except (RuntimeError, IndexError):
        # What the model holds has as many rows as the data.
        return bind(model, *data.args, **data.kwargs)
    if program.access is None or program.num_units != count:
        return bind(model, *data.args, **data.kwargs)
    return program.on(*data.args, **data.kwargs)


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
        >>> program = bind_data(model, Arguments((torch.rand(10, 5),), {}))
        >>> bind_guide_of(program, lv.PriorGuide(model), is_density=True).num_units
        10
    """
    is_whole = is_small(program) or not program.takes_any
    some = program if is_whole else program.rows(torch.arange(looked_at(program)))
    seen = bind_guide(some, guide, is_density=is_density)
    return replace(
        program, access=seen.access, refusal=seen.refusal, stacks=seen.stacks, maps=seen.maps
    )


def is_small(program: BoundProgram) -> bool:
    """Whether programs can run on all data at once without a second thought.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> is_small(lv.bind(model, torch.rand(10, 5)))
        True
    """
    return looked_at(program) >= num_data(program)


def looked_at(program: BoundProgram) -> int:
    """The number of data on which a look at a program runs.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> looked_at(lv.bind(model, torch.rand(10, 5)))
        209715
    """
    return _num_looked_at(program.arguments, num_data(program))


def _num_looked_at(data: Arguments, num_rows: int) -> int:
    return max(1, _MAX_LOOKED_AT // max(1, _row_numbers(data, num_rows)))


def first_batch(program: BoundProgram, batch_size: int) -> BoundProgram:
    """The program on the data of a first update, in their own order.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> first_batch(lv.bind(model, torch.rand(10, 5)), 4).num_units
        4
    """
    count = program.subsample_size or min(batch_size, program.num_units)
    return take(program, torch.arange(count))


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
        >>> program = lv.bind(model, torch.rand(10, 5))
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
        >>> take(lv.bind(model, torch.rand(10, 5)), torch.tensor([3, 1])).num_units
        2
    """
    return program if program.access is None else program.rows(index)


def some_batches(program: BoundProgram, batch_size: int) -> list[BoundProgram]:
    """The program on evenly spaced data, in batches.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> len(some_batches(lv.bind(model, torch.rand(10, 5)), 4))
        3
    """
    size = program.num_units
    step = _spacing(size, _row_numbers(program.arguments, size)) if program.access else 1
    index = torch.arange(0, size, step)
    return [take(program, batch) for batch in batch_indices(program, index, batch_size)]


def warn_of_whole_data(program: BoundProgram, batch_size: int) -> None:
    """Says that updates take all data, where smaller batches were asked for.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> warn_of_whole_data(lv.bind(model, torch.rand(10, 5)), 4)
    """
    if program.access is None and batch_size < num_data(program):
        warnings.warn(
            f"The data cannot be taken apart, so each update takes all {num_data(program)} of "
            f"them: {program.refusal}.",
            WholeDataWarning,
            stacklevel=4,
        )
