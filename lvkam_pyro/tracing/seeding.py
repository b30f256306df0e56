"""Random numbers that leave the caller's random number generators where they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


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
        # Not torch.manual_seed, which would also seed the generators of devices not in use.
        torch.default_generator.manual_seed(seed)
        if x.is_cuda:
            with torch.cuda.device(x.device):
                torch.cuda.manual_seed(seed)
        yield


def draw_seed() -> int:
    """A seed drawn from the caller's global generator, for work that must follow it.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> 0 <= draw_seed() < 2**31
        True
    """
    return int(torch.randint(2**31, ()))
