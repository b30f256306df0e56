"""The processes of a training: one, or several that share every batch."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from lvkam_pyro.training.processes.shared_draws import Share

_Result = TypeVar("_Result")


class Restorable(Protocol):
    """A state that can be sent: tensors, numbers and strings."""

    def state_dict(self) -> Mapping[str, object]:
        """What restores it."""

    def load_state_dict(self, state: Mapping[str, Any]) -> object:
        """Restores it."""


class Processes(Protocol):
    """What a training asks of the processes that it runs in.

    All of them call the same methods in the same order.

    Attributes:
        num_processes: How many there are.
        is_first: Whether this process is the one that writes files and says things.
    """

    @property
    def num_processes(self) -> int:
        """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and says things."""

    def share(self, num_data: int) -> Share:
        """The rows of a batch that this process computes."""

    def drawing(
        self, module: nn.Module, rows: Tensor, share: Share
    ) -> AbstractContextManager[object]:
        """Inside, `module(rows)` draws what it would draw of the whole batch."""

    def attending(self) -> AbstractContextManager[object]:
        """Inside, Ctrl-C ends all processes at the same update."""

    def add_gradients(self, parameters: Sequence[nn.Parameter], values: Tensor) -> Tensor:
        """Adds up the gradients, in place, and the values `(V,)` of all processes."""

    def add_up(self, value: float) -> float:
        """The sum over all processes."""

    def from_first(self, function: Callable[[], _Result]) -> _Result:
        """What the function returns, or raises, in the first process, which alone runs it."""

    def synchronize(self, state: Restorable) -> None:
        """Makes the state that of the first process, bit for bit."""

    def check_same(self, values: Callable[[], Mapping[str, object]], remedy: str) -> None:
        """Raises ValueError, with the remedy, unless all processes have the same values."""


class OneProcess:
    """A training in this process alone: everything is its share.

    Example:
        >>> processes = OneProcess()
        >>> processes.share(5).rows, processes.add_up(2.5), processes.from_first(lambda: 3)
        (slice(0, 5, None), 2.5, 3)
    """

    num_processes = 1
    is_first = True

    def share(self, num_data: int) -> Share:
        """All rows."""
        return Share.of(num_data, 0, 1)

    def drawing(
        self, module: nn.Module, rows: Tensor, share: Share
    ) -> AbstractContextManager[object]:
        """Nothing to do: the rows are the batch."""
        return nullcontext()

    def attending(self) -> AbstractContextManager[object]:
        """Nothing to do: Ctrl-C is KeyboardInterrupt."""
        return nullcontext()

    def add_gradients(self, parameters: Sequence[nn.Parameter], values: Tensor) -> Tensor:
        """The values; the gradients are complete."""
        return values

    def add_up(self, value: float) -> float:
        """The value."""
        return value

    def from_first(self, function: Callable[[], _Result]) -> _Result:
        """What the function returns."""
        return function()

    def synchronize(self, state: Restorable) -> None:
        """Nothing to do: this process is the first."""

    def check_same(self, values: Callable[[], Mapping[str, object]], remedy: str) -> None:
        """Nothing to do: there is no other."""
