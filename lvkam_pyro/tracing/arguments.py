"""The arguments of a user's program, the rows of them that a run is about, and its runs' count."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from inspect import signature
from typing import Any, Self

import pyro
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from lvkam_pyro.tracing.recorder import Site
from lvkam_pyro.tracing.structure import DATA_SET, ProgramStructure, Unit

Program = Callable[..., Any]
"""A Pyro program: a model or a guide."""

_HASHED_NUMBERS = 2**22


class RowAccess(Enum):
    """A way in which a program can be given some of its data.

    The arguments are cut; or they are cut, and the plate's indices are those of the rows, for what
    the program itself indexes by its plate; or the indices alone are given, which is Pyro's own
    mechanism of subsampling.

    Example:
        >>> RowAccess.INDICES.cuts, RowAccess.INDICES.indexes
        (False, True)
    """

    ARGUMENTS = "arguments"
    ARGUMENTS_AND_INDICES = "arguments and indices"
    INDICES = "indices"

    @property
    def cuts(self) -> bool:
        """Whether the rows of the arguments are cut."""
        return self is not RowAccess.INDICES

    @property
    def indexes(self) -> bool:
        """Whether the plate is given the indices of the rows."""
        return self is not RowAccess.ARGUMENTS


class PlateIndices(Messenger):
    """Gives a plate the indices of the data that it is to hold.

    Args:
        plate: The plate's name.
        indices: Of the data, `(B,)`.

    Example:
        >>> with PlateIndices("data", torch.tensor([3, 1])), pyro.plate("data", 5) as index:
        ...     index
        tensor([3, 1])
    """

    def __init__(self, plate: str, indices: Tensor) -> None:
        super().__init__()
        self.plate = plate
        self.indices = indices

    def _pyro_sample(self, msg: Site) -> None:
        if site_is_subsample(msg) and msg["name"] == self.plate:
            msg["value"] = self.indices
            msg["done"] = True


@dataclass
class RunCount:
    """The numbers of runs of a model and of its guides.

    Example:
        >>> RunCount()
        RunCount(model=0, guide=0)
    """

    model: int = 0
    guide: int = 0

    def add_model(self) -> None:
        """Count a run of the model."""
        self.model += 1

    def add_guide(self) -> None:
        """Count a run of a guide."""
        self.guide += 1


@dataclass(frozen=True)
class Arguments:
    """The arguments of a program, and the indices that its data plate is given, if any.

    Attributes:
        args: The positional arguments.
        kwargs: The keyword arguments.
        indices: What the data plate is given, `(B,)`, or None.
        with_rows: The arguments that have a row for each datum, by place or keyword; None: all
            tensors that are as long as the data plate.

    Example:
        >>> arguments = Arguments((torch.zeros(5, 2),), {})
        >>> arguments.rows(torch.tensor([0, 3]), 5, RowAccess.ARGUMENTS).args[0].shape
        torch.Size([2, 2])
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    indices: Tensor | None = None
    with_rows: frozenset[int | str] | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments, in order."""
        return [*_tensors((self.args, dict(self.kwargs)))]

    @property
    def like(self) -> Tensor:
        """A tensor on the arguments' device."""
        return next(iter(self.tensors), torch.empty(0))

    @property
    def num_rows(self) -> int | None:
        """The number of rows of the first tensor that may have some."""
        chosen = (value for key, value in self._by_key() if self._may_have_rows(key))
        return next((len(tensor) for tensor in _tensors((*chosen,)) if tensor.ndim), None)

    def _by_key(self) -> Iterator[tuple[int | str, Any]]:
        yield from enumerate(self.args)
        yield from self.kwargs.items()

    def _may_have_rows(self, key: int | str) -> bool:
        return self.with_rows is None or key in self.with_rows

    @property
    def longest(self) -> int:
        """The number of rows of the tensor that has the most of them; 1 where there is none."""
        return max((len(tensor) for tensor in self.tensors if tensor.ndim), default=1)

    @property
    def num_values(self) -> int:
        """The number of values of all tensors."""
        return sum(tensor.numel() for tensor in self.tensors)

    def num_rows_beside(self, others: Self, num_data: int) -> int:
        """The number of rows of the tensors that stand where other arguments have the data.

        Args:
            others: Arguments of the same program.
            num_data: The number of their data; the same here where no tensor has a row for each.
        """
        pairs = zip(self.tensors, others.tensors, strict=False)
        rows = (len(new) for new, old in pairs if new.ndim and old.shape[:1] == (num_data,))
        return next(rows, num_data)

    @property
    def hash(self) -> str:
        """A short name of the data: equal for equal values, shapes and precisions."""
        pairs = [(str(key), hash_data(x)) for key, value in self._by_key() for x in _tensors(value)]
        if len(pairs) == 1:
            return pairs[0][1]
        # By name: which of two tensors is which belongs to the data, their order does not.
        text = " ".join(" ".join(pair) for pair in sorted(pairs, key=lambda pair: pair[0]))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def rows(self, index: Tensor, num_data: int, access: RowAccess) -> Self:
        """The arguments for some of the data.

        Args:
            index: The indices of the data, `(B,)`.
            num_data: The number of data; what has so many rows is cut.
            access: In which way.
        """
        given = index if self.indices is None else self.indices[index]
        rows = index.to(self.like.device)

        def cut(tensor: Tensor) -> Tensor:
            return tensor[rows] if tensor.shape[:1] == (num_data,) else tensor

        cut_arguments = self.map(cut, rows_alone=True) if access.cuts else self
        return replace(cut_arguments, indices=given if access.indexes else None)

    def map(self, change: Callable[[Tensor], Tensor], *, rows_alone: bool = False) -> Self:
        """The arguments with every tensor changed, or those alone that may have rows.

        Example:
            >>> Arguments((torch.ones(2), "a"), {}).map(torch.neg).args
            (tensor([-1., -1.]), 'a')
        """
        parts = {
            key: value if rows_alone and not self._may_have_rows(key) else _map(value, change)
            for key, value in self._by_key()
        }
        args = tuple(parts[place] for place in range(len(self.args)))
        return replace(self, args=args, kwargs={name: parts[name] for name in self.kwargs})

    def substitute(self, old: Tensor, new: Tensor) -> Self:
        """The arguments with one tensor in the place of another.

        Example:
            >>> x = torch.zeros(2)
            >>> Arguments((x,), {}).substitute(x, torch.ones(2)).args
            (tensor([1., 1.]),)
        """
        return self.map(lambda tensor: new if tensor is old else tensor)

    def on(self, program: Program, structure: ProgramStructure, *, alone: bool = False) -> Any:  # noqa: ANN401
        """Run a program on them.

        Args:
            program: The program.
            structure: Its plates.
            alone: Whether it runs without particles, and so without the data set's plate around it.
        """
        is_joint = structure.unit is Unit.DATA_SET and not alone
        around = pyro.plate(DATA_SET, 1, dim=structure.data_dim) if is_joint else nullcontext()
        with self.plate_indices(structure), around:
            return program(*self.args, **self.kwargs)

    def plate_indices(self, structure: ProgramStructure) -> AbstractContextManager[object]:
        """Gives the data plate the indices of the rows, for as long as it is entered."""
        if self.indices is None:
            return nullcontext()
        return PlateIndices(structure.data_plate, self.indices)

    def check(self) -> None:
        """The arguments are data that a program can take.

        Raises:
            TypeError: If one is an array, a frame or a list of numbers, and no tensor.
            ValueError: If a tensor has no rows.
        """
        for value in (*self.args, *self.kwargs.values()):
            if (hasattr(value, "__array__") and not isinstance(value, Tensor)) or _is_list(value):
                raise TypeError(
                    "Expected the data as a torch.Tensor of shape (N, ...), but got "
                    f"{type(value).__name__}. Convert it first, e.g. by torch.as_tensor(x, "
                    "dtype=torch.get_default_dtype())."
                )
        shapes = [tensor.shape for tensor in self.tensors]
        if any(0 in shape[:1] for shape in shapes):
            raise ValueError(
                "Expected at least one datum along the first axis, but got shape "
                f"{tuple(shapes[0])}. Pass a tensor of shape (N, ...) with N >= 1."
            )

    def check_finite(self) -> None:
        """Raises ValueError if a tensor holds NaN or infinity."""
        for x in self.tensors:
            count = int((~torch.isfinite(x)).sum())
            if count:
                raise ValueError(
                    f"Expected finite data, but {count} of {x.numel()} values of shape "
                    f"{tuple(x.shape)} are NaN or infinite. Drop these rows, or fill them in and "
                    "mask their site by obs_mask."
                )

    def outside_inference_mode(self) -> Self:
        """The same with ordinary tensors in the place of those that inference mode made."""
        return self.map(_ordinary)


def keys_of(names: Sequence[str], program: Program, arguments: Arguments) -> frozenset[int | str]:
    """The places or keywords of arguments that are given by the names of a program's parameters.

    Raises:
        ValueError: If a name is no argument's.

    Example:
        >>> def model(x, covariates, scale=1.0): ...
        >>> arguments = Arguments((torch.zeros(3), torch.zeros(3)), {"scale": 2.0})
        >>> sorted(keys_of(["x", "covariates"], model, arguments))
        [0, 1]
    """
    function = program.forward if isinstance(program, torch.nn.Module) else program
    places = {name: place for place, name in enumerate(signature(function).parameters)}
    known: dict[str, int | str] = {n: p for n, p in places.items() if p < len(arguments.args)}
    known |= {name: name for name in arguments.kwargs}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"Expected rows= to name arguments of the model ({', '.join(known)}), got "
            f"{', '.join(unknown)}."
        )
    return frozenset(known[name] for name in names)


def as_arguments(x: Tensor | tuple[Any, ...] | dict[str, Any]) -> Arguments:
    """The arguments of a program: one tensor, a tuple of them, or a dictionary by name.

    Example:
        >>> as_arguments((torch.zeros(3), torch.ones(3))).num_rows
        3
    """
    if isinstance(x, dict):
        return Arguments((), x)
    return Arguments(x if isinstance(x, tuple) else (x,), {})


def _is_list(value: object) -> bool:
    return isinstance(value, list) and not any(True for _ in _tensors(value))


def _ordinary(value: Tensor) -> Tensor:
    return value.clone() if value.is_inference() else value


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
    """The same value with its tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(_map(part, change) for part in value)
    if type(value) is dict:
        return {name: _map(part, change) for name, part in value.items()}
    return value


def hash_data(x: Tensor) -> str:
    """A short name for the observations: equal for equal values, shape and precision.

    Args:
        x: The observations, of any shape.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of shape, dtype and values.

    Example:
        >>> hash_data(torch.zeros(2)) == hash_data(torch.zeros(2))
        True
        >>> hash_data(torch.zeros(2)) == hash_data(torch.ones(2))
        False
    """
    digest = hashlib.sha256(f"{tuple(x.shape)} {x.dtype}".encode())
    # Row by row if need be: the data may be a mapped file larger than memory.
    rows = x.detach().reshape(1) if x.ndim == 0 else x.detach()
    for part in rows.split(max(1, _HASHED_NUMBERS // max(1, rows[:1].numel()))):
        digest.update(part.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
