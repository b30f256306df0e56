"""The initial coefficients of a KAN layer."""

import math

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis

_NUM_POINTS = 256
"""Points that resolve every function of a basis."""


def draw_base_weights(in_features: int, out_features: int, *, mu: float, sigma: float) -> Tensor:
    r"""Draws the weights of the base activation.

    .. math:: w_{oi} = n_{oi} \frac{\mu + \sigma (2 u_{oi} - 1)}{\sqrt I},
        \qquad n \sim N(0, 1), \quad u \sim U(0, 1),

    which is the residual scale of [1] times a normal factor. The factor has unit variance, not
    Glorot's :math:`2/(I+O)`, because :math:`1/\sqrt I` already keeps a sum over the inputs at
    order 1 and a second such factor would make it vanish with the number of outputs.

    Args:
        in_features: The number of inputs :math:`I`.
        out_features: The number of outputs :math:`O`.
        mu: The mean of the scale.
        sigma: The half-width of the scale around its mean.

    Returns:
        The weights, ``(I, O)``.

    References:
        [1] Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, section 2.2.
        https://arxiv.org/abs/2404.19756

    Example:
        >>> draw_base_weights(3, 2, mu=1.0, sigma=0.0).shape
        torch.Size([3, 2])
    """
    shape = (in_features, out_features)
    scale = mu + sigma * (2 * torch.rand(shape) - 1)
    return torch.randn(shape) * scale / math.sqrt(in_features)


def draw_noise(basis: Basis, in_features: int, out_features: int, *, noise: float) -> Tensor:
    r"""Draws coefficients whose functions are small noise.

    Each basis maps independent normal values to coefficients in its own way: B-splines by the
    least-squares fit to noise at the breakpoints, Fourier and Chebyshev functions by scales that
    fall as :math:`1/k^2`, others with one scale. All are then brought to one size: a sum over the
    inputs, for inputs uniform on the domain, has the standard deviation ``noise``.

    Args:
        basis: The basis of :math:`K` functions.
        in_features: The number of inputs :math:`I`.
        out_features: The number of outputs :math:`O`.
        noise: The standard deviation of a sum over the inputs.

    Returns:
        The coefficients, ``(I, K, O)``.

    Example:
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> draw_noise(BSplineBasis(grid_size=4), 3, 2, noise=0.1).shape
        torch.Size([3, 7, 2])
    """
    with torch.no_grad():
        mapping = basis.noise_to_coefficients()
        variance = _mean_square(basis, mapping)
    scaled = mapping / variance.sqrt()[..., None, None]
    values = torch.randn(in_features, mapping.shape[-1], out_features)
    return scaled.to(values) @ values * (noise / math.sqrt(in_features))


def _mean_square(basis: Basis, mapping: Tensor) -> Tensor:
    """The variance of a function over its coefficients and the domain: () or (I,)."""
    low, high = basis.domain
    shares = (torch.arange(_NUM_POINTS).to(mapping) + 0.5) / _NUM_POINTS
    points = (low + (high - low) * shares).expand(*basis.breakpoints.shape[:-1], _NUM_POINTS)
    # A basis with knots for each input takes inputs last; its map has them first.
    values = basis(points.movedim(-1, 0)).movedim(0, -2)
    return (values @ mapping).square().sum(-1).mean(-1)
