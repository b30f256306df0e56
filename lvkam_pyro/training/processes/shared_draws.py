"""The random numbers of a whole batch, in a process that computes a part of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_BY_VALUE = {
    torch.ops.aten._sample_dirichlet.default,
    torch.ops.aten._standard_gamma.default,
    torch.ops.aten.binomial.default,
    torch.ops.aten.poisson.default,
}
"""Kernels that take more or fewer random numbers, depending on the values of their arguments."""

_Kernel = Any
"""A `torch._ops.OpOverload`."""

_Result = Any
"""What a kernel returns: a tensor, or several of them."""

Gather = Callable[[Tensor, int, "Share"], Tensor]
"""Puts the processes' parts of a tensor together along an axis."""


@dataclass(frozen=True)
class Share:
    r"""The rows of a batch that one of several processes computes.

    A process for which no row is left computes one that is another's, with weight 0.

    Attributes:
        first: The first of its rows.
        num_rows: How many it has.
        num_data: Rows of the batch.
        weight: Its part of the batch's mean; those of all processes sum to 1.

    Example:
        >>> [Share.of(5, rank, 2).rows for rank in range(2)]
        [slice(0, 2, None), slice(2, 5, None)]
        >>> [Share.of(1, rank, 2).weight for rank in range(2)]
        [0.0, 1.0]
    """

    first: int
    num_rows: int
    num_data: int
    weight: float

    @classmethod
    def of(cls, num_data: int, rank: int, num_processes: int) -> "Share":
        """The share of one of several processes."""
        first, last = (num_data * each // num_processes for each in (rank, rank + 1))
        if first == last:
            return cls(min(first, num_data - 1), 1, num_data, 0.0)
        return cls(first, last - first, num_data, (last - first) / num_data)

    @property
    def rows(self) -> slice:
        """Its rows of the batch."""
        return slice(self.first, self.first + self.num_rows)


@dataclass(frozen=True)
class Draw:
    """One call of a kernel that draws random numbers.

    Attributes:
        kernel: Its name.
        shape: Of what it draws, 0 along the axis of the data.
        axis: The axis of the data, counted from the last, -1; None where all data share the draw.
    """

    kernel: str
    shape: tuple[int, ...]
    axis: int | None

    def sized(self, num_rows: int) -> tuple[int, ...]:
        """Its shape for so many data."""
        place = None if self.axis is None else len(self.shape) + self.axis
        return tuple(num_rows if i == place else size for i, size in enumerate(self.shape))


def find_draws(run: Callable[[int], object]) -> list[Draw]:
    """The draws of a program, with the axes of their data: those that grow with the data.

    Args:
        run: Runs the program on so many data.

    Raises:
        ValueError: If the number of draws, or of an axis, does not follow the number of data.

    Example:
        >>> find_draws(lambda num_data: torch.rand(4, num_data, 3))
        [Draw(kernel='aten.rand.default', shape=(4, 0, 3), axis=-2)]
    """
    # What a program finds out about itself in its first run, it draws for only once.
    run(2)
    recorded = []
    for num_rows in (2, 3):
        with _Recorder() as recorder:
            run(num_rows)
        recorded.append(recorder.draws)
    two, three = recorded
    if [kernel for kernel, _ in two] != [kernel for kernel, _ in three]:
        raise _not_shareable("it draws more or fewer of them for another number of data")
    return [_compare(kernel, a, b) for (kernel, a), (_, b) in zip(two, three, strict=True)]


def _compare(kernel: str, two: tuple[int, ...], three: tuple[int, ...]) -> Draw:
    """The draw whose shape is known for two data and for three."""
    if two == three:
        return Draw(kernel, two, None)
    changed = [i for i, sizes in enumerate(zip(two, three, strict=False)) if sizes == (2, 3)]
    if len(changed) != 1 or len(two) != len(three):
        raise _not_shareable(f"{kernel} draws {two} numbers for two data and {three} for three")
    shape = tuple(0 if i in changed else size for i, size in enumerate(two))
    if shape != tuple(0 if i in changed else size for i, size in enumerate(three)):
        raise _not_shareable(f"{kernel} draws {two} numbers for two data and {three} for three")
    return Draw(kernel, shape, changed[0] - len(two))


def _not_shareable(reason: str) -> ValueError:
    return ValueError(
        f"Several processes cannot share the random numbers of this training: {reason}. Train in "
        "one process, or draw with one axis for the data."
    )


class _Recorder(TorchDispatchMode):
    """Records which kernels draw, and what shape."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(
        self,
        func: _Kernel,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> _Result:
        result = func(*args, **(kwargs or {}))
        if _is_random(func):
            self.draws.append((str(func), tuple(_first(result).shape)))
        return result


class SharedDraws(TorchDispatchMode):
    r"""Draws for a whole batch, and keeps the share of this process.

    Processes with equal generators stay so, and what they draw together is what one process draws
    for the batch. A kernel that draws from given parameters is run on those of the whole batch: of
    the share, repeated, where the values do not decide how many random numbers it takes, and of all
    processes, gathered, where they do.

    Args:
        draws: What the program draws; see `find_draws`.
        share: The rows of this process.
        gather: Puts the processes' parts of a tensor together.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> whole = torch.rand(2, 5)
        >>> share = Share.of(5, rank=1, num_processes=2)
        >>> draws = find_draws(lambda num_data: torch.rand(2, num_data))
        >>> _ = torch.manual_seed(0)
        >>> with SharedDraws(draws, share, gather=lambda part, axis, share: part):
        ...     part = torch.rand(2, 3)
        >>> torch.equal(part, whole[:, 2:])
        True
    """

    def __init__(self, draws: Sequence[Draw], share: Share, gather: Gather) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.share = share
        self.gather = gather
        self._expected = iter(draws)

    def __torch_dispatch__(
        self,
        func: _Kernel,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> _Result:
        if not _is_random(func):
            return func(*args, **(kwargs or {}))
        draw = next(self._expected, None)
        if draw is None or draw.kernel != str(func):
            raise _not_shareable(f"{func} is not what it drew before")
        return self._draw(draw, func, args, kwargs or {})

    def _draw(
        self,
        draw: Draw,
        func: _Kernel,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> _Result:
        whole = [self._whole(draw, func, *pair) for pair in _named(func, args)]
        result = func(*(args if draw.axis is None else whole), **kwargs)
        shape, expected = tuple(_first(result).shape), draw.sized(self.share.num_data)
        if shape != expected:
            raise _not_shareable(f"{func} draws {shape} numbers for a batch instead of {expected}")
        if draw.axis is None:
            return result
        keep = self._keep(draw.axis)
        if func._schema.is_mutable:
            return args[0].copy_(keep(result))
        return tuple(map(keep, result)) if isinstance(result, tuple) else keep(result)

    def _keep(self, axis: int) -> Callable[[Tensor], Tensor]:
        # A copy: the whole is not kept for as long as its part is.
        return lambda whole: whole.narrow(axis, self.share.first, self.share.num_rows).clone()

    def _whole(self, draw: Draw, func: _Kernel, name: str, value: object) -> _Result:
        """An argument for the whole batch."""
        if name == "size":
            return draw.sized(self.share.num_data)
        axis = draw.axis
        if not isinstance(value, Tensor) or axis is None or value.dim() < -axis:
            return value
        if value.shape[axis] != self.share.num_rows:
            return value
        if func in _BY_VALUE:
            return self.gather(value, axis, self.share)
        return value.index_select(axis, self._repeated(value))

    def _repeated(self, value: Tensor) -> Tensor:
        """The rows of the batch, counted in this share, with its first and last for all others."""
        rows = torch.arange(self.share.num_data, device=value.device) - self.share.first
        return rows.clamp(0, self.share.num_rows - 1)


def _is_random(func: _Kernel) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


def _first(result: _Result) -> Tensor:
    tensor: Tensor = result[0] if isinstance(result, tuple) else result
    return tensor


def _named(func: _Kernel, args: tuple[Any, ...]) -> Iterator[tuple[str, object]]:
    """Positional arguments with their names in the kernel's schema."""
    return zip((argument.name for argument in func._schema.arguments), args, strict=False)
