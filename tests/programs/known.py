"""A program as its user wrote it, with its arguments and its log evidence by another way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

DATUM, DATA_SET = "datum", "data set"


@dataclass(frozen=True)
class Known:
    """A program of known evidence.

    Attributes:
        name: What it is, in the words of a tutorial.
        model: The program.
        truth: Its log evidence of each unit from the same arguments, by a closed form, quadrature
            or enumeration that shares nothing with the library.
        args: Its arguments.
        kwargs: Its keyword arguments.
        unit: What has an evidence of its own.
        stacks: Whether the program is written for values with further axes on the left.
        is_hard: Whether the default method may flag its own value.
        slow: Whether its estimates take more than a few seconds.
    """

    name: str
    model: Callable[..., Any]
    truth: Callable[..., Tensor]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    unit: str = DATA_SET
    stacks: bool = True
    is_hard: bool = False
    slow: bool = False

    @property
    def log_evidence(self) -> Tensor:
        """The truth, `(U,)` in double precision."""
        return torch.as_tensor(self.truth(*self.args, **self.kwargs)).double().reshape(-1)


def generator(seed: int) -> torch.Generator:
    """A generator of data, so that no test depends on another."""
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=generator(seed))


def counts(seed: int, rate: float, *shape: int) -> Tensor:
    """Poisson counts, as floats."""
    return torch.poisson(torch.full(shape, rate), generator=generator(seed))


def zeros_and_ones(seed: int, probability: float, *shape: int) -> Tensor:
    """Coin tosses, as floats."""
    return (torch.rand(*shape, generator=generator(seed)) < probability).float()
