"""Inversion of a distribution function inside one quadrature panel."""

from collections.abc import Callable

import torch
from torch import Tensor

from lvkam_pyro.distributions.panels import unit_nodes

_NEWTON_STEPS = 2


def integrate_from(log_density: Callable[[Tensor], Tensor], low: Tensor, z: Tensor) -> Tensor:
    r"""Gauss-Legendre integral :math:`\int_{low}^{z} e^{\log p(s)} ds` inside a panel.

    Arguments:
        log_density: Elementwise log density; takes nodes of shape `(n, *z.shape)`.
        low: Lower end of each integral, of the shape of `z`.
        z: Upper end of each integral.
    """
    nodes, weights = unit_nodes(low)
    column = (-1, *[1] * z.ndim)
    span = z - low
    values = log_density(low + nodes.view(column) * span).exp()
    return (weights.view(column) * values).sum(0) * span


def invert_in_panel(
    log_density: Callable[[Tensor], Tensor],
    low: Tensor,
    width: Tensor,
    mass: Tensor,
    total: Tensor,
) -> Tensor:
    r"""The point `z` of a panel below which the panel holds the given mass.

    Starts from the exact solution for a density that is log-linear across the panel and takes
    two Newton steps, kept inside the panel, with the partial integral as the residual.

    Arguments:
        log_density: Elementwise log density; takes `(n, *shape)` as well as `shape`.
        low: Lower end of each panel.
        width: Width of each panel.
        mass: Wanted :math:`\int_{low}^{z} p`, between 0 and the mass of the panel.
        total: Mass of each panel.
    """
    high = low + width
    slope = log_density(high) - log_density(low)
    # A panel far out may hold less than the rounding of the distribution function: 0 of 0.
    share = mass / total.clamp(min=torch.finfo(total.dtype).tiny)
    z = low + width * _log_linear_quantile(share.clamp(0, 1), slope)
    for _ in range(_NEWTON_STEPS):
        residual = integrate_from(log_density, low, z) - mass
        step = residual / log_density(z).exp()
        z = torch.clamp(z - torch.nan_to_num(step, 0.0, 0.0, 0.0), low, high)
    return z


def _log_linear_quantile(u: Tensor, slope: Tensor) -> Tensor:
    """Quantile of the density proportional to `exp(slope t)` on [0, 1], stable for any slope."""
    steep = slope.abs() > 1e-6
    slope = torch.where(steep, slope, torch.ones_like(slope))
    # Reflect to a falling density, so that the exponential never overflows.
    rising = slope > 0
    fall = -slope.abs()
    v = torch.where(rising, 1 - u, u)
    t = torch.log1p(v * torch.expm1(fall)) / fall
    return torch.where(steep, torch.where(rising, 1 - t, t), u).clamp(0, 1)
