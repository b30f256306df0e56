"""The operations of torch by which a function computes, recorded while it runs once."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tag, Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class UntraceableError(Exception):
    """A function does what a record of its operations cannot repeat."""


@dataclass(frozen=True)
class Hole:
    """The place of a tensor among arguments."""


@dataclass(frozen=True)
class Static:
    """An argument that is no tensor; 1, 1.0 and True differ."""

    key: str
    value: Any = field(compare=False)


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        function: What was called.
        template: Its arguments, then its named ones, with a hole for each tensor.
        inputs: The numbers of the tensors that fill the holes.
        outputs: The numbers of the tensors that it made.
    """

    function: Callable[..., Any]
    template: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def run(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs of the operation on other tensors."""
        args, kwargs = _filled(self.template, iter(tensors))
        made = self.function(*args, **dict(kwargs))
        return (made,) if isinstance(made, Tensor) else tuple(made)


class Tape(TorchDispatchMode):
    """Records the operations that depend on one tensor; what does not is a constant.

    Values that leave torch on the way (a branch on them, a check of arguments) are noted: a repeat
    holds as long as they are the same.

    Args:
        position: The tensor.

    Attributes:
        calls: In the order in which they ran.
        values: All tensors by number, the first of them the position.
        constants: The numbers of those that do not depend on it.
        readings: The number of each tensor whose value was read, and the value.

    Raises:
        UntraceableError: Inside, if the function draws random numbers, changes tensors in place
            that matter, or makes tensors whose shapes depend on values.

    Example:
        >>> x = torch.ones(3)
        >>> with Tape(x) as tape:
        ...     y = (2 * x).sum() if x[0] > 0 else x
        >>> [call.function.__name__ for call in tape.calls], [value for _, value in tape.readings]
        (['select.int', 'gt.Scalar', 'mul.Tensor', 'sum.default'], [True])
    """

    def __init__(self, position: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.values = [position]
        self.constants: set[int] = set()
        self.readings: list[tuple[int, Any]] = []
        self._numbers = {id(position): 0}
        self._storages: Counter[int] = Counter([_storage(position)])

    def number_of(self, value: Tensor) -> int:
        """The number of a tensor, one that the function returns, say."""
        if id(value) not in self._numbers:
            self.constants.add(len(self.values))
            self._add(value)
        return self._numbers[id(value)]

    def _add(self, value: Tensor) -> int:
        if id(value) not in self._numbers:
            self._storages[_storage(value)] += 1
        self._numbers[id(value)] = len(self.values)
        # Kept alive, so that no other tensor comes by its id.
        self.values.append(value)
        return len(self.values) - 1

    def _moves(self, value: Tensor) -> bool:
        number = self._numbers.get(id(value))
        return number is not None and number not in self.constants

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operation, and record it if it depends on the position."""
        kwargs = kwargs or {}
        tensors: list[Tensor] = []
        template = _templated((args, tuple(kwargs.items())), tensors)
        depends = any(map(self._moves, tensors))
        self._check(func, tensors, depends=depends)
        made = func(*args, **kwargs)
        if depends:
            self._record(func, template, tensors, made)
        return made

    def _check(self, func: Any, tensors: Sequence[Tensor], *, depends: bool) -> None:  # noqa: ANN401
        """Refuse what a repeat would freeze: draws, shapes by values, memory that is shared."""
        is_strided = depends and func is torch.ops.aten.as_strided.default
        is_random = Tag.nondeterministic_seeded in func.tags
        if is_strided or is_random or self._is_shaped_by_values(func, tensors):
            raise UntraceableError(str(func))
        if func._schema.is_mutable:
            # A constant that takes the position in, or is changed after its use, is none.
            is_used = any(_storage(tensor) in self._storages for tensor in tensors)
            if not self._moves(tensors[0]) if depends else is_used:
                raise UntraceableError(str(func))

    def _is_shaped_by_values(self, func: Any, tensors: Sequence[Tensor]) -> bool:  # noqa: ANN401
        if Tag.dynamic_output_shape not in func.tags:
            return False
        # Indices give known shapes, masks do not.
        is_index = func is torch.ops.aten.index.Tensor
        masks = [t for t in tensors[1:] if t.dtype in {torch.bool, torch.uint8}]
        return any(map(self._moves, masks if is_index else tensors))

    def _record(
        self,
        func: Any,  # noqa: ANN401
        template: Any,  # noqa: ANN401
        tensors: Sequence[Tensor],
        made: Any,  # noqa: ANN401
    ) -> None:
        inputs = tuple(map(self.number_of, tensors))
        if func._schema.is_mutable:
            func = self._without_change(func, tensors[0])
        outputs = made if isinstance(made, tuple | list) else (made,)
        if all(isinstance(output, Tensor) for output in outputs):
            self.calls.append(Call(func, template, inputs, tuple(map(self._add, outputs))))
        elif isinstance(made, int | float) and len(inputs) == 1:
            self.readings.append((inputs[0], made))
        else:
            raise UntraceableError(str(func))

    def _without_change(self, func: Any, changed: Tensor) -> Any:  # noqa: ANN401
        """The operation that makes a new tensor in place of changing its first argument."""
        name, overload = func._schema.name.removeprefix("aten::"), func._overloadname
        packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
        is_plain = name.endswith("_") and overload in getattr(packet, "overloads", list)()
        # A view of what is changed would change with it.
        if not is_plain or self._storages[_storage(changed)] > 1:
            raise UntraceableError(str(func))
        return getattr(packet, overload)


def _storage(value: Tensor) -> int:
    return value.untyped_storage()._cdata


def _templated(value: Any, tensors: list[Tensor]) -> Any:  # noqa: ANN401
    """Arguments with a hole for each tensor, which is put into the list."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return Hole()
    if isinstance(value, tuple | list):
        return tuple(_templated(part, tensors) for part in value)
    return Static(f"{type(value).__name__} {value!r}", value)


def _filled(template: Any, tensors: Iterator[Tensor]) -> Any:  # noqa: ANN401
    """The arguments with tensors in their holes."""
    if isinstance(template, Hole):
        return next(tensors)
    if isinstance(template, tuple):
        return [_filled(part, tensors) for part in template]
    return template.value
