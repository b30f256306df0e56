"""Reflectional switch activation functions."""

from torch import Tensor

from lvkam_pyro.kan.bases.radial import RadialBasis


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
