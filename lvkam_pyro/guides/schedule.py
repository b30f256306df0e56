"""Temperatures of a ladder from prior (0) to posterior (1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.guides.validation import check_count


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
