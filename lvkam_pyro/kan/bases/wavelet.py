"""Morlet wavelets."""

import math

from torch import Tensor

from lvkam_pyro.kan.bases.extrapolation import CONSTANT, Extrapolation
from lvkam_pyro.kan.bases.radial import RadialBasis


class MorletBasis(RadialBasis):
    r"""Morlet wavelets around equally spaced centres.

    .. math:: \phi_k(z) = \cos(\omega u_k) \, e^{-u_k^2 / 2}, \qquad u_k = \frac{z - g_k}{h \tau}

    with the centres :math:`g_k` from one end of the domain to the other, their spacing :math:`h`
    (the domain's width for a single centre, in its middle) and the bandwidth :math:`\tau`.

    All wavelets have one scale, so together they hold the frequencies within about
    :math:`1 / (h \tau)` of :math:`\omega / (h \tau)`. The default :math:`\omega = 1.5` includes
    frequency 0 and fits smooth functions as Gaussian bells do, better conditioned. The customary
    :math:`\omega = 5` of wavelet transforms leaves slow functions out: an oscillation of two or
    three spacings is then all that can be fitted.

    Args:
        num_functions: The number of functions :math:`K`.
        frequency: The angular frequency :math:`\omega` in units of :math:`1 / (h \tau)`.
        bandwidth: The width :math:`\tau` of a wavelet in spacings of the centres.
        trainable_bandwidth: Whether the bandwidth is learned, one for each KAN layer.
        domain: The interval from the first to the last centre.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If the extrapolation is of the wrong type.

    References:
        Bozorgasl, Z. and Chen, H. (2024). Wav-KAN: Wavelet Kolmogorov-Arnold Networks.
        https://arxiv.org/abs/2405.12832

    Example:
        >>> import torch
        >>> MorletBasis(3, domain=(-1.0, 1.0))(torch.tensor([-1.0, 0.0]))
        tensor([[ 1.0000,  0.0429, -0.1340],
                [ 0.0429,  1.0000,  0.0429]])
    """

    def __init__(
        self,
        num_functions: int = 8,
        *,
        frequency: float = 1.5,
        bandwidth: float = 1.0,
        trainable_bandwidth: bool = False,
        domain: tuple[float, float] = (0.0, 1.0),
        extrapolation: Extrapolation = CONSTANT,
    ) -> None:
        super().__init__(
            num_functions,
            bandwidth=bandwidth,
            trainable_bandwidth=trainable_bandwidth,
            domain=domain,
            extrapolation=extrapolation,
        )
        if not (frequency > 0 and math.isfinite(frequency)):
            raise ValueError(f"Expected a frequency that is positive and finite, got {frequency}.")
        self.frequency = float(frequency)
        self.turns_per_unit = max(1.0, self.frequency / math.pi)

    def profile(self, u: Tensor) -> Tensor:
        """The wavelet at ``u`` of any shape."""
        return (self.frequency * u).cos() * (-0.5 * u.square()).exp()

    def profile_slope(self, u: Tensor) -> Tensor:
        """The derivative of the wavelet at ``u`` of any shape."""
        phase = self.frequency * u
        return -(u * phase.cos() + self.frequency * phase.sin()) * (-0.5 * u.square()).exp()

    def extra_repr(self) -> str:
        """The arguments that are not modules."""
        return f"{super().extra_repr()}, frequency={self.frequency}"
