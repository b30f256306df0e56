"""The surroundings in which programs run: one thread, one seed, own parameters, no open plates."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import pyro
import torch
from pyro.poutine.runtime import _DIM_ALLOCATOR
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_LOCK = RLock()
"""Pyro's handlers, plates and parameters are global: one thread runs programs at a time."""


@contextmanager
def exclusive() -> Iterator[None]:
    """The library's turn to run programs: other threads wait for the end of it.

    Inference mode is left inside, where gradients would silently be zero.

    Yields:
        Nothing.

    Example:
        >>> with torch.inference_mode(), exclusive():
        ...     torch.ones(1, requires_grad=True).square().requires_grad
        True
    """
    with _LOCK, torch.inference_mode(False):
        yield


@contextmanager
def no_handlers() -> Iterator[None]:
    """Run Pyro programs as if nothing were around them: no handler, no plate.

    A guide that runs the model is itself run inside plates of the same names; Pyro's handlers can
    be blocked, but its table of the plates that are open has no such door.

    Yields:
        Nothing.

    Example:
        >>> import pyro.distributions as dist
        >>> with pyro.plate("data", 5), no_handlers(), pyro.plate("data", 3):
        ...     pyro.sample("z", dist.Normal(0.0, 1.0)).shape
        torch.Size([3])
    """
    around, _DIM_ALLOCATOR._stack = _DIM_ALLOCATOR._stack, []
    try:
        with pyro.poutine.block():
            yield
    finally:
        _DIM_ALLOCATOR._stack = around


@contextmanager
def preserved_rng(x: Tensor) -> Iterator[None]:
    """Draw freely inside; the generators of the CPU and of `x`'s device are restored at the end.

    Args:
        x: A tensor on the device whose generator is in use.

    Yields:
        Nothing.

    Example:
        >>> before = torch.get_rng_state()
        >>> with preserved_rng(torch.zeros(1)):
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    devices = [x.device] if x.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def seeded_rng(seed: int, x: Tensor) -> Iterator[None]:
    """Draw from generators seeded with `seed`; the caller's own are restored at the end.

    Args:
        seed: The seed: equal seeds give equal draws, bit for bit, on one machine.
        x: A tensor on the device whose generator is in use.

    Yields:
        Nothing.

    Example:
        >>> with seeded_rng(7, torch.zeros(1)):
        ...     first = torch.rand(3)
        >>> with seeded_rng(7, torch.zeros(1)):
        ...     print(torch.equal(first, torch.rand(3)))
        True
    """
    with preserved_rng(x):
        seed_generators(seed, x)
        yield


def seed_generators(seed: int, x: Tensor) -> None:
    """Seed the generators of the CPU and of `x`'s device.

    `torch.manual_seed` would also seed those of devices that are not in use.

    Example:
        >>> with preserved_rng(torch.zeros(1)):
        ...     seed_generators(7, torch.zeros(1))
    """
    torch.default_generator.manual_seed(seed)
    if x.is_cuda:
        with torch.cuda.device(x.device):
            torch.cuda.manual_seed(seed)


def draw_seed() -> int:
    """A seed drawn from the caller's global generator, for work that must follow it.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> 0 <= draw_seed() < 2**31
        True
    """
    return int(torch.randint(2**31, ()))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is that of a lack of memory, for which torch's CPU has no class of its own.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("a shape"))
        (True, False)
    """
    is_own = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_own or "can't allocate memory" in str(error)


class LargestArray(TorchDispatchMode):
    """The number of values of the largest array that an operation of torch makes inside.

    Views of what is there already, a transpose say, take no memory and do not count.

    Example:
        >>> with LargestArray() as largest:
        ...     _ = (torch.ones(4, 1) * torch.ones(5)).sum().expand(50)
        >>> largest.num_values
        20
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.num_values = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operation and note the size of what it makes."""
        made = func(*args, **(kwargs or {}))
        is_view = any(part.alias_info is not None for part in func._schema.returns)
        for part in made if isinstance(made, tuple | list) else (made,):
            if isinstance(part, Tensor) and not is_view:
                self.num_values = max(self.num_values, part.numel())
        return made
