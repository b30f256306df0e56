"""What every basis of univariate functions offers to a KAN layer."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Basis(nn.Module, ABC):
    r"""A family of univariate functions :math:`\phi_1, \dots, \phi_K` on an interval.

    Outside the domain every function keeps the value of the nearest end, so its gradient there is
    0. Values that are not a number stay so.

    Implementing a basis:

    - Inherit from ``Basis`` and call ``super().__init__(domain)``.
    - Define the attributes ``num_functions`` and ``degree`` (the degree of the polynomial pieces).
    - Define ``breakpoints``, ``(G+1,)``: between two neighbours every function is smooth.
    - Define ``forward(z)``, which takes ``z`` of shape ``(...)`` to values of shape ``(..., K)``.
    - Where only a few functions differ from 0 at any point, override ``nonzero``.

    Args:
        domain: The ends of the interval, ``low < high``, both finite.

    Raises:
        ValueError: If the domain is not an interval.
    """

    num_functions: int
    degree: int

    def __init__(self, domain: tuple[float, float]) -> None:
        super().__init__()
        low, high = domain
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"Expected a domain (low, high) of finite numbers with low < high, got {domain}."
            )
        self.domain = (float(low), float(high))

    @property
    @abstractmethod
    def breakpoints(self) -> Tensor:
        """The ends of the cells, ``(G+1,)``, in increasing order from ``low`` to ``high``."""

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """All functions at ``z`` of shape ``(...)``: ``(..., K)``."""

    def nonzero(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The functions that may differ from 0 at ``z``: here all of them.

        Args:
            z: Points of shape ``(...)``.

        Returns:
            The numbers of the functions and their values, both of shape ``(..., L)``.
        """
        values = self(z)
        return torch.arange(self.num_functions, device=z.device).expand_as(values), values
