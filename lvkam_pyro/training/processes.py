"""The processes of a training: one, or several of torch.distributed that share every batch."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lvkam_pyro.training.runs.checkpoint import deserialize_checkpoint, serialize_checkpoint
from lvkam_pyro.training.signals import SIGNALS, handled_signals

_Result = TypeVar("_Result")


class LostProcessError(RuntimeError):
    """Another process of a training has ended, or does not answer."""


class Restorable(Protocol):
    """A state that can be sent: tensors, scalars and strings."""

    def state_dict(self) -> Mapping[str, Any]:
        """The content that restores it."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> object:
        """Restores it."""


def running_processes() -> "Processes":
    """Those of torch's default process group; this one alone where none is initialised.

    Example:
        >>> running_processes().num_processes
        1
    """
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


class Processes:
    r"""Data-parallel training: each process has all data and a copy of the model.

    Of each batch of B data a process computes its share with random numbers of its own; the
    gradients of :math:`\sum_{n \in share} \ell_n / B` are added up over the processes (gloo or
    NCCL, one message), and all make the same update (Li et al. 2020, "PyTorch Distributed",
    https://arxiv.org/abs/2006.15704). All call the same methods in the same order; of one process
    they are no work.

    Args:
        rank: Of this process.
        num_processes: How many there are.

    Example:
        >>> processes = Processes(rank=1, num_processes=2)
        >>> processes.is_first, processes.share(torch.tensor([3, 0, 4]))
        (False, (tensor([4]), 0.3333333333333333))
        >>> Processes().add_up(2.5), Processes().from_first(lambda: 3)
        (2.5, 3)
    """

    def __init__(self, rank: int = 0, num_processes: int = 1) -> None:
        self.rank = rank
        self.num_processes = num_processes
        self._signals: list[int] = []
        self._handlers: dict[int, Any] = {}

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: Tensor) -> tuple[Tensor, float]:
        """The rows of a batch that this process computes, and their part of the batch's mean.

        A process for which no row is left computes the first, with weight 0.
        """
        rows = batch.tensor_split(self.num_processes)[self.rank]
        return (rows, len(rows) / len(batch)) if len(rows) else (batch[:1], 0.0)

    @contextmanager
    def deferring_signals(self) -> Iterator[None]:
        """Inside, Ctrl-C and SIGTERM wait for the next update, at which they end all processes.

        One process alone that left a training would leave the others waiting for its gradients.
        torchrun ends the others of a lost process by SIGTERM: they end as by Ctrl-C, and write.
        """
        if self.num_processes == 1:
            yield
            return
        with handled_signals(self._remember) as self._handlers:
            yield
        if self._signals:
            self._end(self._signals[0])

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _end(self, number: int) -> NoReturn:
        """Ends as the signal would have ended this process."""
        handler = self._handlers.get(number)
        self._signals.clear()
        if callable(handler):
            handler(number, None)
        raise KeyboardInterrupt

    def add_gradients(self, parameters: Sequence[nn.Parameter], values: Tensor) -> Tensor:
        """Adds up the gradients, in place, and the values `(V,)` of all processes.

        Raises:
            LostProcessError: If a process has ended.
            KeyboardInterrupt: If one of them was interrupted.
        """
        if self.num_processes == 1:
            return values
        for parameter in parameters:
            if parameter.grad is None:
                # Where other data lead another way through the program there may be one.
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        signals = values.new_tensor([each in self._signals for each in SIGNALS])
        flat = torch.cat([part.reshape(-1) for part in (*gradients, values, signals)])
        _add_up(flat)
        *sums, values, signals = flat.split([*(g.numel() for g in gradients), len(values), 2])
        for number, count in zip(SIGNALS, signals.tolist(), strict=True):
            if count:
                self._end(number)
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total.view_as(gradient))
        return values

    def add_up(self, value: float) -> float:
        """The sum over all processes."""
        if self.num_processes == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=_device())
        _add_up(total)
        return total.item()

    def from_first(self, function: Callable[[], _Result]) -> _Result:
        """The result of a function, or its error, in the first process, which alone runs it.

        Raises:
            LostProcessError: If a process has ended.
        """
        if self.num_processes == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = function()
            except Exception as error:
                outcome[1] = error
        with _naming_losses():
            dist.broadcast_object_list(outcome)
        result, failure = outcome
        if failure is not None:
            raise failure
        received: _Result = result
        return received

    def synchronize(self, state: Restorable) -> None:
        """Makes the state that of the first process, bit for bit."""
        if self.num_processes == 1:
            return
        content = self.from_first(lambda: serialize_checkpoint({"state": state.state_dict()}))
        if not self.is_first:
            received: Any = deserialize_checkpoint(content)["state"]
            state.load_state_dict(received)

    def check_same(self, values: Callable[[], Mapping[str, object]], remedy: str) -> None:
        """Raises ValueError, with the remedy, unless all processes have the same values."""
        if self.num_processes == 1:
            return
        everywhere: list[Any] = [None] * self.num_processes
        with _naming_losses():
            dist.all_gather_object(everywhere, dict(values()))
        for rank, others in enumerate(everywhere):
            for name, value in everywhere[0].items():
                if others.get(name) != value:
                    raise ValueError(
                        f"The processes differ in {name}: it is {value!r} in process 0 and "
                        f"{others.get(name)!r} in process {rank}. {remedy}"
                    )


def _add_up(tensor: Tensor) -> None:
    with _naming_losses():
        dist.all_reduce(tensor)


@contextmanager
def _naming_losses() -> Iterator[None]:
    """Gives one name to the RuntimeErrors of many kinds in which torch reports a lost process."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[\S*\] ", "", str(error)).split(". ")[0]
        raise LostProcessError(
            "Another process of this training has ended, or does not answer; its own message, if "
            f"it left any, says why ({reason}). Whole epochs are kept: resume in any number of "
            "processes."
        ) from error


def _device() -> torch.device:
    """Where tensors have to be for the default group."""
    is_nccl = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if is_nccl else torch.device("cpu")
