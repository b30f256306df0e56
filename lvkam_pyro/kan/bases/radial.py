"""Copies of one profile around equally spaced centres, with a bandwidth that may be learned."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

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
        ends = torch.linspace(*self.domain, 2, dtype=dtype, device=self.indices.device)
        return self.profile_slope(self._distances(ends, bandwidth)) / (self.spacing * bandwidth)

    def _distances(self, z: Tensor, bandwidth: Tensor | float) -> Tensor:
        """The distances u from all centres, counted from the middle, where rounding is least."""
        low, high = self.domain
        middle = 0.5 * (low + high)
        centres = self.indices.to(z.dtype) - 0.5 * (self.num_functions - 1)
        scaled = (z - middle) / (self.spacing * bandwidth)
        return scaled.unsqueeze(-1) - centres / bandwidth


class RBFBasis(RadialBasis):
    r"""Gaussian bells around equally spaced centres.

    .. math:: \phi_k(z) = e^{-u_k^2 / 2}, \qquad u_k = \frac{z - g_k}{h \tau}

    with the centres :math:`g_k` from one end of the domain to the other, their spacing :math:`h`
    (the domain's width for a single centre, in its middle) and the bandwidth :math:`\tau`. At
    :math:`\tau = 1` the standard deviation of a bell is one spacing: their sum is then flat to
    1e-8 away from the ends, and coefficients are still well determined.

    Args:
        num_functions: The number of functions :math:`K`.
        bandwidth: The standard deviation :math:`\tau` of a bell in spacings of the centres.
        trainable_bandwidth: Whether the bandwidth is learned, one for each KAN layer.
        domain: The interval from the first to the last centre.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If the extrapolation is of the wrong type.

    References:
        Li, Z. (2024). Kolmogorov-Arnold Networks are Radial Basis Function Networks.
        https://arxiv.org/abs/2405.06721

    Example:
        >>> import torch
        >>> RBFBasis(3, domain=(-1.0, 1.0))(torch.tensor([-1.0, 0.0]))
        tensor([[1.0000, 0.6065, 0.1353],
                [0.6065, 1.0000, 0.6065]])
    """

    def profile(self, u: Tensor) -> Tensor:
        """The bell at ``u`` of any shape."""
        return (-0.5 * u.square()).exp()

    def profile_slope(self, u: Tensor) -> Tensor:
        """The derivative of the bell at ``u`` of any shape."""
        return -u * self.profile(u)


class RSWAFBasis(RadialBasis):
    r"""Reflectional switch activation functions around equally spaced centres.

    .. math:: \phi_k(z) = 1 - \tanh^2 u_k, \qquad u_k = \frac{z - g_k}{h \tau}

    with the centres :math:`g_k` from one end of the domain to the other, their spacing :math:`h`
    (the domain's width for a single centre, in its middle) and the bandwidth :math:`\tau`. The
    original divides by one width in the units of ``z``; here it is :math:`h \tau`, so that
    :math:`\tau = 1` suits every grid: the sum of all functions is then flat to 0.2 % away from
    the ends.

    Args:
        num_functions: The number of functions :math:`K`.
        bandwidth: The width :math:`\tau` of a function in spacings of the centres.
        trainable_bandwidth: Whether the bandwidth is learned, one for each KAN layer.
        domain: The interval from the first to the last centre.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If the extrapolation is of the wrong type.

    References:
        Delis, A. (2024). FasterKAN. https://github.com/AthanasiosDelis/faster-kan

    Example:
        >>> import torch
        >>> RSWAFBasis(3, domain=(-1.0, 1.0))(torch.tensor([-1.0, 0.0]))
        tensor([[1.0000, 0.4200, 0.0707],
                [0.4200, 1.0000, 0.4200]])
    """

    def profile(self, u: Tensor) -> Tensor:
        """The switch's derivative at ``u`` of any shape."""
        return 1 - u.tanh().square()

    def profile_slope(self, u: Tensor) -> Tensor:
        """The second derivative of the switch at ``u`` of any shape."""
        return -2 * u.tanh() * self.profile(u)


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
