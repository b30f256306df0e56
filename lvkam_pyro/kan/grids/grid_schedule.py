"""A schedule of updates of a grid: often at first, then ever more seldom."""

import math
from dataclasses import dataclass

from lvkam_pyro.options import check_count


@dataclass(frozen=True, kw_only=True)
class GridSchedule:
    r"""Steps whose distance grows by a constant factor.

    .. math:: t_1 = k, \qquad t_{n+1} - t_n = k \, (2 - \delta)^n, \qquad
              \text{so that } t_n = k \, \frac{(2 - \delta)^n - 1}{1 - \delta},

    each rounded to a whole step. A pure function of the step: a training that is resumed moves its
    grids when an unbroken one does.

    Attributes:
        every: The first distance :math:`k`, a whole number of steps.
        decay: The factor :math:`\delta`: at 1 the distance stays :math:`k`, at 0 it doubles.
        last: No step after this one is due; None for no such limit.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> schedule = GridSchedule(every=10, decay=0.5)
        >>> [step for step in range(100) if schedule(step)]
        [10, 25, 48, 81]
    """

    every: int
    decay: float = 0.5
    last: int | None = None

    def __post_init__(self) -> None:
        check_count("every", self.every)
        if not 0 <= self.decay <= 1:
            raise ValueError(
                f"Expected a decay from 0 (distances double) to 1 (they stay), got {self.decay}."
            )
        if self.last is not None:
            check_count("last", self.last)

    def __call__(self, step: int) -> bool:
        """Whether the grid is to be moved after this step."""
        if step < 1 or (self.last is not None and step > self.last):
            return False
        return self._time(round(self._number_at(step))) == step

    def _time(self, number: int) -> int:
        """The step of an update: t_n."""
        if self.decay == 1:
            return self.every * number
        growth = 1 - self.decay
        return round(self.every * math.expm1(number * math.log1p(growth)) / growth)

    def _number_at(self, step: int) -> float:
        """The real number n at which t_n, before rounding, is the step.

        Rounding t_n moves it by less than a half, because the distances are at least 1.
        """
        if self.decay == 1:
            return step / self.every
        growth = 1 - self.decay
        return math.log1p(step * growth / self.every) / math.log1p(growth)
