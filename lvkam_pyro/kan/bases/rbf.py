"""Gaussian radial basis functions."""

from torch import Tensor

from lvkam_pyro.kan.bases.radial import RadialBasis


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
