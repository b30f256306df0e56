"""Inversion of distribution functions that are a polynomial in each panel."""

import torch
from torch import Tensor

from lvkam_pyro.distributions.blocks import in_blocks

_STEPS = {torch.float32: 2, torch.float64: 3}
_STEEPEST = 30.0
_FLATTEST = 1e-4


class PanelInverse:
    r"""Quantiles inside panels whose distribution functions are polynomials.

    Solves :math:`\sum_k c_k t^k = v` for the place `t` of a panel below which it holds the share
    `v` of its mass: from the solution for a density that is log-linear across the panel, two or
    three Halley steps, each of which cubes the error. No panel is left, so that whatever becomes
    of a panel without mass, the distribution function is off by that mass at most.

    Arguments:
        low: Lower ends of the panels, of shape `(R)`, float64.
        width: Widths of the panels, of shape `(R)`, float64.
        coefficients: Coefficients of `t`, `t^2`, ... in the mass below `t`, of shape `(R, n)`.
        dtype: Floating dtype of the solution.
    """

    def __init__(
        self, low: Tensor, width: Tensor, coefficients: Tensor, *, dtype: torch.dtype
    ) -> None:
        tiny = torch.finfo(torch.float32).tiny
        shares = coefficients / coefficients.sum(-1, keepdim=True).clamp(min=tiny)
        powers = torch.arange(1, shares.shape[-1] + 1, device=shares.device)
        first, last = shares[:, 0].clamp(min=tiny), (shares * powers).sum(-1).clamp(min=tiny)
        slope = (last / first).log().clamp(-_STEEPEST, _STEEPEST)
        slope = torch.where(slope.abs() < _FLATTEST, _FLATTEST, slope)
        self.dtype = dtype
        # One contiguous column each: gathers of single columns are the fastest.
        columns = torch.stack([low, width, slope.expm1(), 1 / slope, *shares.unbind(-1)])
        self._columns = columns.to(dtype)

    def __call__(self, index: Tensor, share: Tensor) -> Tensor:
        """Points of the panels `index` below which they hold `share` of their mass, `(D)` each."""
        return in_blocks(self._solve, index, share)

    def _solve(self, index: Tensor, share: Tensor) -> Tensor:
        low, width, growth, scale, *shares = (c.index_select(0, index) for c in self._columns)
        t = torch.log1p(share * growth) * scale
        for _ in range(_STEPS[self.dtype]):
            t = _halley_step(shares, t, share)
        return low + width * t


def _halley_step(coefficients: list[Tensor], t: Tensor, value: Tensor) -> Tensor:
    """A step towards the root of `sum_k c_k t^k = value`, kept in [0, 1]."""
    *lower, level = coefficients
    slope = torch.zeros_like(t)
    half_curvature = torch.zeros_like(t)
    for coefficient in (*lower[::-1], -value):
        half_curvature = torch.addcmul(slope, half_curvature, t)
        slope = torch.addcmul(level, slope, t)
        level = torch.addcmul(coefficient, level, t)
    step = level * slope / torch.addcmul(slope.square(), level, half_curvature, value=-1)
    return (t - step.nan_to_num(0.0, 0.0, 0.0)).clamp(0, 1)


def quantiles(masses: Tensor, inverse: PanelInverse, u: Tensor) -> Tensor:
    """Quantiles of rows of panels: one search over the row, then inversion in the panel.

    Arguments:
        masses: Masses of the panels of each row, of shape `(R, M)`, float64.
        inverse: The inverse of the same `R M` panels.
        u: Probabilities, of shape `(R, D)`.
    """
    above = masses.cumsum(-1)
    u = u * above[:, -1:]
    slot = torch.searchsorted(above[:, :-1].contiguous(), u, right=True)
    index = (slot + masses.shape[-1] * torch.arange(len(u), device=u.device)[:, None]).flatten()
    below, mass = (part.flatten().index_select(0, index) for part in (above - masses, masses))
    share = ((u.flatten() - below) / mass.clamp(min=torch.finfo(mass.dtype).tiny)).clamp(0, 1)
    return inverse(index, share.to(inverse.dtype)).view(u.shape)
