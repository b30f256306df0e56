"""Copies of one profile around equally spaced centres."""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.bandwidth import Bandwidth
from lvkam_pyro.kan.bases.dense import DenseBasis
from lvkam_pyro.kan.bases.extrapolation import CONSTANT, Extrapolation


class RadialBasis(DenseBasis):
    r"""Functions :math:`\phi_k(z) = \psi(u_k)` of a profile :math:`\psi` around centres.

    .. math:: u_k = \frac{z - g_k}{h \tau}, \qquad k = 1, \dots, K

    The centres :math:`g_k` are equally spaced from one end of the domain to the other with the
    spacing :math:`h`; a single centre lies in the middle and has the domain's width for
    :math:`h`. The bandwidth :math:`\tau` is measured in spacings, so that neither the domain nor
    the number of functions changes what is a good one.

    A subclass defines ``profile`` and ``profile_slope``, and where its profile oscillates,
    ``turns_per_unit``.

    Args:
        num_functions: The number of functions :math:`K`.
        bandwidth: The width :math:`\tau` of a function in spacings of the centres.
        trainable_bandwidth: Whether the bandwidth is learned, one for each KAN layer.
        domain: The interval from the first to the last centre.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If the extrapolation is of the wrong type.
    """

    is_bounded_everywhere = True
    turns_per_unit = 1.0

    def __init__(
        self,
        num_functions: int = 8,
        *,
        bandwidth: float = 1.0,
        trainable_bandwidth: bool = False,
        domain: tuple[float, float] = (0.0, 1.0),
        extrapolation: Extrapolation = CONSTANT,
    ) -> None:
        super().__init__(num_functions, domain, extrapolation=extrapolation)
        self.bandwidth = Bandwidth(bandwidth, trainable=trainable_bandwidth)

    @property
    def spacing(self) -> float:
        """The distance of neighbouring centres."""
        low, high = self.domain
        return (high - low) / max(self.num_functions - 1, 1)

    @abstractmethod
    def profile(self, u: Tensor) -> Tensor:
        r"""The function :math:`\psi` at ``u`` of any shape."""

    @abstractmethod
    def profile_slope(self, u: Tensor) -> Tensor:
        r"""The derivative :math:`\psi'` at ``u`` of any shape."""

    @property
    def num_cells(self) -> int:
        """One cell between two centres, more where the first bandwidth makes functions rougher.

        A learned bandwidth does not move them: a prior's normaliser is still exact to 1e-5 at a
        quarter of the first.
        """
        turns = max(1.0, self.turns_per_unit / self.bandwidth.initial)
        return math.ceil(max(self.num_functions - 1, 1) * turns)

    def values_inside(self, z: Tensor) -> Tensor:
        """All functions at ``z`` of shape ``(...)``: ``(..., K)``."""
        return self.profile(self._distances(z, self.bandwidth(z.dtype)))

    def slopes_at_ends(self, dtype: torch.dtype) -> Tensor:
        """The derivatives at the first and the last centre: ``(2, K)``."""
        bandwidth = self.bandwidth(dtype)
        ends = torch.linspace(*self.domain, 2, dtype=dtype, device=self._numbers.device)
        return self.profile_slope(self._distances(ends, bandwidth)) / (self.spacing * bandwidth)

    def _distances(self, z: Tensor, bandwidth: Tensor | float) -> Tensor:
        """The distances u from all centres, counted from the middle, where rounding is least."""
        low, high = self.domain
        middle = 0.5 * (low + high)
        centres = self._numbers.to(z.dtype) - 0.5 * (self.num_functions - 1)
        scaled = (z - middle) / (self.spacing * bandwidth)
        return scaled.unsqueeze(-1) - centres / bandwidth

    def extra_repr(self) -> str:
        """The arguments that are not modules."""
        return f"num_functions={self.num_functions}, {self._describe_domain()}"
