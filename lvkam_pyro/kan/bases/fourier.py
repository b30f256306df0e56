"""The Fourier basis."""

import math

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.dense import DenseBasis
from lvkam_pyro.kan.bases.extrapolation import CONSTANT, Extrapolation
from lvkam_pyro.kan.bases.radial import Bandwidth


class FourierBasis(DenseBasis):
    r"""The constant, and cosines and sines of rising frequency.

    .. math:: 1, \; \cos 2 \pi \tau z', \; \sin 2 \pi \tau z', \; \cos 4 \pi \tau z', \;
              \sin 4 \pi \tau z', \; \dots \qquad z' = \frac{z - (a + b)/2}{b - a}

    on the domain :math:`[a, b]`. With an odd number :math:`K` of functions these are all
    frequencies up to :math:`(K - 1)/2` oscillations on the domain; with an even number the last
    is a cosine alone. At the bandwidth :math:`\tau = 1` every function has one value at both
    ends. A smaller one, as 0.5, also fits functions whose ends differ.

    Fresh coefficients fall as :math:`1/k^2` with the frequency :math:`k`, so that a fresh
    function is smooth.

    Args:
        num_functions: The number of functions :math:`K`.
        bandwidth: The lowest frequency :math:`\tau`, in oscillations on the domain.
        trainable_bandwidth: Whether the bandwidth is learned, one for each KAN layer.
        domain: The interval of ``z``.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default;
            ``AnalyticExtrapolation()`` repeats them.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If the extrapolation is of the wrong type.

    References:
        Xu, J. et al. (2024). FourierKAN-GCF: Fourier Kolmogorov-Arnold Network.
        https://arxiv.org/abs/2406.01034

    Example:
        >>> FourierBasis(3)(torch.tensor([0.5, 0.625, 0.75])).round(decimals=4) + 0.0
        tensor([[1.0000, 1.0000, 0.0000],
                [1.0000, 0.7071, 0.7071],
                [1.0000, 0.0000, 1.0000]])
    """

    is_bounded_everywhere = True

    def __init__(
        self,
        num_functions: int = 9,
        *,
        bandwidth: float = 1.0,
        trainable_bandwidth: bool = False,
        domain: tuple[float, float] = (0.0, 1.0),
        extrapolation: Extrapolation = CONSTANT,
    ) -> None:
        super().__init__(num_functions, domain, extrapolation=extrapolation)
        self.bandwidth = Bandwidth(bandwidth, trainable=trainable_bandwidth)

    @property
    def num_cells(self) -> int:
        """Half an oscillation of the highest frequency at the first bandwidth.

        A learned bandwidth does not move the cells: a prior's normaliser is still
        exact to 1e-5 at four times the first.
        """
        return max(1, math.ceil(2 * (self.num_functions // 2) * self.bandwidth.initial))

    def values_inside(self, z: Tensor) -> Tensor:
        """All functions at ``z`` of shape ``(...)``: ``(..., K)``."""
        frequencies, quarters = self._frequencies(z.dtype)
        low, high = self.domain
        turns = ((z - 0.5 * (low + high)) / (high - low)).unsqueeze(-1) * frequencies
        # Whole turns are taken off before the product with 2 pi, which would round them.
        return (2 * math.pi * (turns - turns.detach().round() - quarters)).cos()

    def slopes_at_ends(self, dtype: torch.dtype) -> Tensor:
        """The derivatives at both ends: ``(2, K)``."""
        frequencies, quarters = self._frequencies(dtype)
        low, high = self.domain
        turns = torch.stack([-0.5 * frequencies, 0.5 * frequencies]) - quarters
        return (2 * math.pi * turns).sin() * frequencies * (-2 * math.pi / (high - low))

    def coefficient_scales(self) -> Tensor:
        """The inverse squares of the frequencies, 1 for the constant: ``(K,)``."""
        return self._orders().clamp(min=1) ** -2

    def _orders(self) -> Tensor:
        """The frequencies in units of the bandwidth: 0, 1, 1, 2, 2, ..."""
        return ((self.indices + 1) / 2).floor()

    def _frequencies(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The frequencies, and the quarter turns that make a cosine a sine: both (K,)."""
        orders = self._orders().to(dtype)
        is_sine = (self.indices % 2 == 0) & (self.indices > 0)
        return orders * self.bandwidth(dtype), 0.25 * is_sine.to(dtype)
