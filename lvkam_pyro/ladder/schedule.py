"""Temperatures of a ladder from prior (0) to posterior (1)."""

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.program import BoundProgram


@dataclass(frozen=True)
class PowerSchedule:
    r"""Temperatures crowded towards the prior, :math:`t_k = (k / (T - 1))^p`.

    From Friel and Pettitt, *Marginal likelihood estimation via power posteriors* (JRSS B 70, 2008,
    https://doi.org/10.1111/j.1467-9868.2007.00650.x), section 3.

    Args:
        exponent: p > 0: larger puts more temperatures near the prior.

    Raises:
        ValueError: If the exponent is not positive.

    Example:
        >>> PowerSchedule(exponent=2.0)(3)
        tensor([0.0000, 0.2500, 1.0000], dtype=torch.float64)
    """

    exponent: float = 5.0

    def __post_init__(self) -> None:
        if not self.exponent > 0:
            raise ValueError(
                f"Expected exponent > 0, but got {self.exponent}. Use 5, or 1 for equal steps."
            )

    def __call__(self, num_temperatures: int) -> Tensor:
        """The temperatures, of shape `(T,)` in float64, from 0 to 1 inclusive."""
        check_count("num_temperatures", num_temperatures, minimum=2)
        return torch.linspace(0, 1, num_temperatures, dtype=torch.float64) ** self.exponent


@dataclass(frozen=True)
class FixedSchedule:
    """Temperatures that are known: one's own, or what a pilot run found.

    Args:
        temperatures: From 0 to 1 inclusive, rising.
        num_likelihood_evaluations: What finding them cost for each datum.

    Raises:
        ValueError: If they do not rise from 0 to 1, or another number of them is asked for.

    Example:
        >>> FixedSchedule((0.0, 0.1, 1.0))(3)
        tensor([0.0000, 0.1000, 1.0000], dtype=torch.float64)
    """

    temperatures: tuple[float, ...]
    num_likelihood_evaluations: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in itertools.pairwise(self.temperatures))
        if not rising or (self.temperatures[:1], self.temperatures[-1:]) != ((0.0,), (1.0,)):
            raise ValueError(
                f"Expected temperatures that rise from 0 to 1, but got {self.temperatures}."
            )

    def __call__(self, num_temperatures: int) -> Tensor:
        """The temperatures, of shape `(T,)` in float64."""
        if num_temperatures != len(self.temperatures):
            raise ValueError(
                f"Expected num_temperatures = {len(self.temperatures)}, the number of temperatures "
                f"of the FixedSchedule, but got {num_temperatures}."
            )
        return torch.tensor(self.temperatures, dtype=torch.float64)


class PilotSchedule(ABC):
    """Temperatures chosen by a short run on the model and its data.

    A ladder has the same temperatures for all data, so the pilot's mean over the data decides. A
    `Ladder` runs the pilot each time before its own run and counts its evaluations; to run
    it once, give the ladder the `FixedSchedule` that `fit` returns.

    Implementing one: be a frozen dataclass, so that equal ladders compare equal, and define `fit`.

    Example:
        >>> import lvkam_pyro as lv
        >>> schedules = lv.ladder.EqualLengthSchedule(), lv.ladder.PowerSchedule()
        >>> [isinstance(schedule, PilotSchedule) for schedule in schedules]
        [True, False]
    """

    @abstractmethod
    def fit(self, program: BoundProgram, num_temperatures: int, *, seed: int = 0) -> FixedSchedule:
        """Run the pilot.

        Args:
            program: The bound program.
            num_temperatures: T.
            seed: Equal seeds give equal temperatures; the caller's generators are left alone.

        Returns:
            The temperatures.
        """


def spread_evenly(
    temperatures: Tensor, distances: Tensor, num_temperatures: int
) -> tuple[float, ...]:
    """Temperatures at equal distances, where the distances between others are known.

    Args:
        temperatures: `(R,)`, rising from 0 to 1.
        distances: `(R - 1,)` between them, not negative; even inside each interval.
        num_temperatures: T.

    Returns:
        T temperatures that rise from 0 to 1.

    Example:
        >>> found = spread_evenly(torch.tensor([0.0, 0.6, 1.0]), torch.tensor([3.0, 1.0]), 5)
        >>> [round(temperature, 3) for temperature in found]
        [0.0, 0.2, 0.4, 0.6, 1.0]
    """
    check_count("num_temperatures", num_temperatures, minimum=2)
    temperatures, distances = temperatures.double().cpu(), distances.double().cpu()
    gaps = temperatures.diff()
    # A little everywhere, so that the temperatures rise where nothing changes.
    distances = gaps if distances.sum() == 0 else distances + 1e-9 * distances.sum() * gaps
    ends = torch.nn.functional.pad(distances.cumsum(0), (1, 0))
    places = torch.linspace(0, 1, num_temperatures, dtype=torch.float64)[1:-1] * ends[-1]
    interval = torch.searchsorted(ends, places).clamp(1, len(gaps)) - 1
    share = (places - ends[interval]) / distances[interval]
    inner = temperatures[interval] + share * gaps[interval]
    return (0.0, *inner.tolist(), 1.0)
