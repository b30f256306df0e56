"""The bandwidth of a basis: one positive number, fixed or learned."""

import math

import torch
from torch import Tensor, nn


class Bandwidth(nn.Module):
    r"""A positive number :math:`\tau`, fixed, or learned through its logarithm.

    A fixed one is exact in every precision and no part of the state. A learned one is
    :math:`\tau = e^\lambda` with the parameter :math:`\lambda`, so it stays positive whatever an
    optimiser does.

    Attributes:
        logarithm: The parameter :math:`\lambda`, a scalar, or None where the number is fixed.

    Args:
        value: The number :math:`\tau`, where a learned one starts.
        trainable: Whether it is learned.

    Raises:
        ValueError: If the value is not positive and finite.

    Example:
        >>> Bandwidth(0.5)(torch.float32), Bandwidth(1.0, trainable=True)(torch.float32)
        (0.5, tensor(1., grad_fn=<ExpBackward0>))
    """

    logarithm: nn.Parameter | None

    def __init__(self, value: float, *, trainable: bool = False) -> None:
        super().__init__()
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"Expected a bandwidth that is positive and finite, got {value}.")
        self.initial = float(value)
        parameter = nn.Parameter(torch.tensor(math.log(value))) if trainable else None
        self.register_parameter("logarithm", parameter)

    def forward(self, dtype: torch.dtype) -> Tensor | float:
        """The number, as a scalar tensor of the precision ``dtype`` where it is learned."""
        return self.initial if self.logarithm is None else self.logarithm.to(dtype).exp()

    def extra_repr(self) -> str:
        """The number, or where a learned one started."""
        return f"{self.initial}, trainable={self.logarithm is not None}"
