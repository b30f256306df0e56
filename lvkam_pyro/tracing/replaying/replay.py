"""A recorded function, repeated: operations of one kind run as one on stacked tensors."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lvkam_pyro.tracing.replaying.broadcast import run_broadcast
from lvkam_pyro.tracing.replaying.tape import Call, Tape

_MAX_COMPARED = 1024
"""Values of a constant that is compared with others."""

Fetch = Callable[["Memory"], Tensor]
"""A tensor from what has been computed so far."""


class Memory:
    """The values that a repeat has computed: tensors, and the stacks that they are rows of."""

    def __init__(self, values: dict[int, Tensor]) -> None:
        self.values = values
        self.stacks: dict[int, Tensor] = {}

    def unstack(self, stack: int, numbers: Sequence[int]) -> None:
        """Put the rows of a stack among the tensors."""
        self.values.update(zip(numbers, self.stacks[stack].unbind(), strict=True))


@dataclass(frozen=True)
class Step:
    """Calls of one kind that do not depend on each other.

    Attributes:
        call: The first of them.
        fetches: Of each of their inputs: all calls' together, or what they share.
        dims: The axis of the calls of each input, None where they share it.
        shapes: The shape of each input of a call, as recorded.
        inputs: The numbers of all of their inputs.
        outputs: The numbers of each call's outputs.
    """

    call: Call
    fetches: tuple[Fetch, ...]
    dims: tuple[int | None, ...]
    shapes: tuple[torch.Size, ...]
    inputs: frozenset[int]
    outputs: tuple[tuple[int, ...], ...]

    def __call__(self, memory: Memory) -> None:
        """Run them."""
        tensors = [fetch(memory) for fetch in self.fetches]
        if len(self.outputs) == 1:
            memory.values.update(zip(self.outputs[0], self._run(*tensors), strict=True))
            return
        stacked = torch.vmap(self._run, self.dims)(*tensors)
        for first, stack in zip(self.outputs[0], stacked, strict=True):
            memory.stacks[first] = stack

    def _run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return run_broadcast(self.call, tensors, self.shapes)


class Replay:
    r"""A function of one tensor, by the operations that it was seen to run.

    Equal operations run once, those that no result needs not at all. Operations of one kind that
    do not depend on each other, as the statements of a loop over time, run as one over stacked
    tensors (on-the-fly batching; Neubig, Goldberg and Dyer 2017, https://arxiv.org/abs/1705.07860).
    What a plate repeats is computed once; see `run_broadcast`. Gradients flow.

    Args:
        tape: The record.
        results: The tensors that the function returned.

    Attributes:
        num_steps: The number of operations of a repeat.

    Example:
        >>> def function(x):
        ...     return sum(torch.sin(k * x) for k in torch.arange(1.0, 9.0))
        >>> x = torch.ones(3)
        >>> with Tape(x) as tape:
        ...     result = function(x)
        >>> replay = Replay(tape, [result])
        >>> (replay(2 * x)[0] - function(2 * x)).abs().max() < 1e-6
        tensor(True)
        >>> len(tape.calls), replay.num_steps
        (24, 10)
    """

    def __init__(self, tape: Tape, results: Sequence[Tensor]) -> None:
        same = _merged(tape)
        numbers = [same.get(n, n) for n in map(tape.number_of, results)]
        readings = dict.fromkeys((same.get(n, n), value) for n, value in tape.readings)
        needed = {*numbers, *(number for number, _ in readings)}
        layout = _Layout(tape, _without_idle(_renamed(tape.calls, same), needed))
        used = {number for step in layout.steps for number in step.inputs}.union(needed)
        self._constants = {n: tape.values[n] for n in tape.constants.intersection(used)}
        self._steps = layout.steps
        self._results = [(layout.fetch([n])[0], tape.values[n].shape) for n in numbers]
        self._expected = _stacked_readings([*readings], tape.values, layout)
        self.num_steps = len(self._steps)

    def __call__(self, position: Tensor) -> list[Tensor] | None:
        """The results at another tensor; None where a value that was read is not the same."""
        memory = Memory({0: position, **self._constants})
        for step in self._steps:
            step(memory)
        for fetch, expected in self._expected:
            if not torch.equal(fetch(memory), expected):
                return None
        return [fetch(memory).expand(shape) for fetch, shape in self._results]


def _stacked_readings(
    readings: Sequence[tuple[int, Any]], values: Sequence[Tensor], layout: "_Layout"
) -> list[tuple[Fetch, Tensor]]:
    """The tensors that were read and what was found, those of one type together."""
    by_type: dict[Hashable, list[tuple[int, Any]]] = defaultdict(list)
    for number, value in readings:
        by_type[values[number].dtype, values[number].shape].append((number, value))
    return [
        (
            layout.gather([number for number, _ in group]),
            torch.stack([torch.full_like(values[number], value) for number, value in group]),
        )
        for group in by_type.values()
    ]


def _merged(tape: Tape) -> dict[int, int]:
    """The number of each tensor's first twin: the same constant, or the same call's output."""
    same: dict[int, int] = {}
    seen: dict[Hashable, tuple[int, ...]] = {}
    for number in sorted(tape.constants):
        same[number] = seen.setdefault(_content(number, tape.values[number]), (number,))[0]
    for call in tape.calls:
        inputs = tuple(same.get(n, n) for n in call.inputs)
        first = seen.setdefault((call.function, call.template, inputs), call.outputs)
        same.update(zip(call.outputs, first, strict=True))
    return same


def _content(number: int, value: Tensor) -> Hashable:
    if value.numel() > _MAX_COMPARED:
        return number
    return value.dtype, value.shape, value.device, tuple(map(repr, value.flatten().tolist()))


def _renamed(calls: Sequence[Call], same: dict[int, int]) -> list[Call]:
    """The calls without repeated ones, on the first twins."""
    return [
        Call(call.function, call.template, tuple(same.get(n, n) for n in call.inputs), call.outputs)
        for call in calls
        if all(same[n] == n for n in call.outputs)
    ]


def _without_idle(calls: Sequence[Call], needed: set[int]) -> list[Call]:
    """The calls that some needed tensor depends on."""
    needed, kept = set(needed), []
    for call in reversed(calls):
        if not needed.isdisjoint(call.outputs):
            needed.update(call.inputs)
            kept.append(call)
    return kept[::-1]


class _Layout:
    """The steps, and where each tensor is.

    Args:
        tape: The record, for shapes and constants.
        calls: What is left of its calls.
    """

    def __init__(self, tape: Tape, calls: Sequence[Call]) -> None:
        self._values, self._constants = tape.values, tape.constants
        self._places: dict[int, tuple[int, int]] = {}
        self._rows: dict[int, tuple[int, ...]] = {}
        self.steps: list[Step] = []
        for group in self._groups(calls):
            self._add(group)

    def _groups(self, calls: Sequence[Call]) -> list[list[Call]]:
        """Calls of one kind at one depth: none of them depends on another."""
        depths: dict[int, int] = defaultdict(int)
        groups: dict[tuple[int, Hashable], list[Call]] = defaultdict(list)
        for call in calls:
            depth = 1 + max(depths[number] for number in call.inputs)
            depths.update(dict.fromkeys(call.outputs, depth))
            kinds = tuple((self._values[n].shape, self._values[n].dtype) for n in call.inputs)
            groups[depth, (call.function, call.template, kinds)].append(call)
        return [groups[key] for key in sorted(groups, key=lambda key: key[0])]

    def _add(self, group: Sequence[Call]) -> None:
        columns = list(zip(*(call.inputs for call in group), strict=True))
        fetched = [self.fetch(column) for column in columns]
        outputs = tuple(call.outputs for call in group)
        fetches, dims = zip(*fetched, strict=True)
        shapes = tuple(self._values[number].shape for number in group[0].inputs)
        inputs = frozenset().union(*(call.inputs for call in group))
        self.steps.append(Step(group[0], fetches, dims, shapes, inputs, outputs))
        if len(group) > 1:
            for column in zip(*outputs, strict=True):
                self._rows[column[0]] = column
                self._places.update({n: (column[0], row) for row, n in enumerate(column)})

    def fetch(self, numbers: Sequence[int]) -> tuple[Fetch, int | None]:
        """The tensor that all calls share, or their own ones stacked; and the axis."""
        return (
            (self._one(numbers[0]), None) if len(set(numbers)) == 1 else (self.gather(numbers), 0)
        )

    def _one(self, number: int) -> Fetch:
        if number not in self._places:
            return lambda memory: memory.values[number]
        stack, _ = self._places[number]
        rows = self._rows[stack]

        def fetch(memory: Memory) -> Tensor:
            if number not in memory.values:
                memory.unstack(stack, rows)
            return memory.values[number]

        return fetch

    def gather(self, numbers: Sequence[int]) -> Fetch:
        """Tensors stacked."""
        if self._constants.issuperset(numbers):
            stacked = torch.stack([self._values[number] for number in numbers])
            return lambda memory: stacked
        stacks = {self._places.get(number, (None, 0))[0] for number in numbers}
        stack = next(iter(stacks))
        if len(stacks) > 1 or stack is None:
            each = [self._one(number) for number in numbers]
            return lambda memory: _stack([fetch(memory) for fetch in each])
        if tuple(numbers) == self._rows[stack]:
            return lambda memory: memory.stacks[stack]
        rows = torch.tensor([self._places[number][1] for number in numbers])
        index = rows.to(self._values[0].device)
        return lambda memory: memory.stacks[stack].index_select(0, index)


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors stacked, some of which may stand for their repetition along an axis."""
    is_even = len({tensor.shape for tensor in tensors}) == 1
    return torch.stack(list(tensors if is_even else torch.broadcast_tensors(*tensors)))
