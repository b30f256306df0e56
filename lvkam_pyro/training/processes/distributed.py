"""Several processes of torch.distributed that train one model on shares of every batch."""

import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lvkam_pyro.tracing.session import preserved_rng
from lvkam_pyro.training.processes.launch import OneProcess, Processes, Restorable
from lvkam_pyro.training.processes.shared_draws import Draw, Share, SharedDraws, find_draws
from lvkam_pyro.training.runs.checkpoint import deserialize_checkpoint, serialize_checkpoint

_Result = TypeVar("_Result")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class LostProcessError(RuntimeError):
    """Another process of a training has ended, or does not answer."""


def running_processes() -> Processes:
    """Those of torch's default process group, where one of several processes is initialised.

    Example:
        >>> running_processes().is_first
        True
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return Replicas(dist.get_rank(), dist.get_world_size())
    return OneProcess()


class Replicas:
    r"""The processes of torch's default group, each with a copy of the model.

    Every process has all of the data and the same random state. Of each batch of B data it
    computes the rows of its `Share`; its gradient, that of
    :math:`\sum_{n \in share} \ell_n / B`, is added to those of the others (gloo or NCCL, one
    message), and all make the same update. The draws of a share are cut out of those of the whole
    batch, see `SharedDraws`: so the sum is what one process computes, but for the order of terms.

    Args:
        rank: Of this process.
        num_processes: How many there are.

    Example:
        >>> processes = Replicas(rank=1, num_processes=2)
        >>> processes.is_first, processes.share(5).rows
        (False, slice(2, 5, None))
    """

    def __init__(self, rank: int, num_processes: int) -> None:
        self.rank = rank
        self.num_processes = num_processes
        self._draws: dict[tuple[nn.Module, bool], list[Draw]] = {}
        self._interrupted = False

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and says things."""
        return self.rank == 0

    def share(self, num_data: int) -> Share:
        """The rows of a batch that this process computes."""
        return Share.of(num_data, self.rank, self.num_processes)

    def drawing(self, module: nn.Module, rows: Tensor, share: Share) -> SharedDraws:
        """Inside, `module(rows)` draws what it would draw of the whole batch."""
        key = module, module.training
        if key not in self._draws:
            self._draws[key] = _draws_of(module, rows)
        return SharedDraws(self._draws[key], share, _gather)

    @contextmanager
    def attending(self) -> Iterator[None]:
        """Keeps a Ctrl-C until all processes know of it, at the end of the next update.

        One process alone that left a training would leave the others waiting for its gradients.
        torchrun ends the others of a lost process by SIGTERM: they end as by Ctrl-C, and write.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._interrupted:
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True

    def add_gradients(self, parameters: Sequence[nn.Parameter], values: Tensor) -> Tensor:
        """Adds up the gradients, in place, and the values `(V,)` of all processes.

        Raises:
            LostProcessError: If a process has ended.
            KeyboardInterrupt: If one of them was interrupted.
        """
        for parameter in parameters:
            if parameter.grad is None:
                # Where other data lead another way through the program there may be one.
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        interrupted = values.new_full((1,), float(self._interrupted))
        parts = [*gradients, values, interrupted]
        flat = torch.cat([part.reshape(-1) for part in parts])
        _add_up(flat)
        *sums, values, interrupted = flat.split([part.numel() for part in parts])
        if interrupted.item():
            raise KeyboardInterrupt
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total.view_as(gradient))
        return values

    def add_up(self, value: float) -> float:
        """The sum over all processes."""
        total = torch.tensor([value], dtype=torch.float64, device=_device())
        _add_up(total)
        return total.item()

    def from_first(self, function: Callable[[], _Result]) -> _Result:
        """What the function returns, or raises, in the first process, which alone runs it.

        Raises:
            LostProcessError: If a process has ended.
        """
        result, error = _attempt(function) if self.is_first else (None, None)
        outcome: list[Any] = [result, error]
        with _naming_losses():
            dist.broadcast_object_list(outcome)
        if error is not None or outcome[1] is not None:
            raise outcome[1] if error is None else error
        received: _Result = outcome[0]
        return received

    def synchronize(self, state: Restorable) -> None:
        """Makes the state that of the first process, bit for bit."""
        content = self.from_first(lambda: serialize_checkpoint(state.state_dict()))
        if not self.is_first:
            state.load_state_dict(deserialize_checkpoint(content))

    def check_same(self, values: Callable[[], Mapping[str, object]], remedy: str) -> None:
        """Raises ValueError, with the remedy, unless all processes have the same values."""
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


def _draws_of(module: nn.Module, rows: Tensor) -> list[Draw]:
    with preserved_rng(rows):
        return find_draws(
            lambda num_rows: module(rows[torch.arange(num_rows, device=rows.device) % len(rows)])
        )


def _gather(part: Tensor, axis: int, share: Share) -> Tensor:
    """The processes' parts, each added to zeros in its place."""
    shape = list(part.shape)
    shape[axis] = share.num_data
    whole = part.new_zeros(shape)
    if share.weight > 0:
        whole.narrow(axis, share.first, share.num_rows).copy_(part)
    _add_up(whole)
    return whole


def _add_up(tensor: Tensor) -> None:
    with _naming_losses():
        dist.all_reduce(tensor)


def _attempt(function: Callable[[], _Result]) -> tuple[_Result | None, Exception | None]:
    try:
        return function(), None
    except Exception as error:
        return None, error


@contextmanager
def _naming_losses() -> Iterator[None]:
    """What torch.distributed says of a lost process is a RuntimeError of many kinds."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[\S*\] ", "", str(error)).split(". ")[0]
        raise LostProcessError(
            "Another process of this training has ended, or does not answer; its own message, if "
            f"it left any, says why ({reason}). Whole epochs are kept: start all processes again "
            "and resume."
        ) from error


def _device() -> torch.device:
    """Where tensors have to be for the default group."""
    is_nccl = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if is_nccl else torch.device("cpu")
