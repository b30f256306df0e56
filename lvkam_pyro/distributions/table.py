"""The integrals of a batch of densities, from which everything else is read."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lvkam_pyro.distributions.panels import NODES_PER_PANEL, Panels, unit_nodes
from lvkam_pyro.distributions.rows import horner, in_blocks, locate, row_index

_STEPS = {torch.float32: 2, torch.float64: 3}

_STEEPEST = 30.0

_FLATTEST = 1e-4


def _integrals_of_lagrange() -> Tensor:
    """From the masses of the nodes to the coefficients of `t`, `t^2`, ... in the mass below `t`."""
    nodes, weights = (rule.numpy() for rule in unit_nodes(torch.ones((), dtype=torch.float64)))
    powers = np.linalg.inv(np.vander(nodes, NODES_PER_PANEL, increasing=True))
    return torch.from_numpy(powers.T / np.arange(1, NODES_PER_PANEL + 1) / weights[:, None])


_INTEGRALS = _integrals_of_lagrange()


class PanelInverse:
    r"""Quantiles inside panels whose distribution functions are polynomials.

    Solves :math:`\sum_k c_k t^k = v` for the position `t` in a panel below which it holds the share
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


class Table:
    r"""The integrals of one batch of densities, in float64.

    In each panel the density is the polynomial through its values at the Gauss-Legendre nodes, so
    the distribution function is a polynomial of degree 8, exact at the panel's ends.

    Arguments:
        panels: The panels of each density.
        potentials: Log potential at the nodes, of shape `(*batch, M, n)`.

    Attributes:
        panels: The panels of each density.
        potentials: Log potential at the nodes, of shape `(*batch, M, n)`.
        log_normalizer: :math:`\log Z`, of shape `(*batch)`.
        probabilities: Probability carried by each node, of shape `(*batch, M, n)`.
        cdf: Distribution function at the panel edges, from 0 to 1, of shape `(*batch, M + 1)`.
    """

    def __init__(self, panels: Panels, potentials: Tensor) -> None:
        self.panels = panels
        self._inverses: dict[torch.dtype, PanelInverse] = {}
        self.potentials = potentials
        log_masses = potentials + panels.log_weights
        peak = log_masses.detach().amax((-2, -1), keepdim=True)
        masses = (log_masses - peak).exp()
        total = masses.sum((-2, -1), keepdim=True)
        self.log_normalizer = (peak + total.log())[..., 0, 0]
        self.probabilities = masses / total
        self.cdf = torch.nn.functional.pad(self.probabilities.sum(-1).cumsum(-1), (1, 0))

    @property
    def log_density(self) -> Tensor:
        """Normalised log density at the nodes, of shape `(*batch, M, n)`."""
        return self.potentials - self.log_normalizer[..., None, None]

    @cached_property
    def coefficients(self) -> Tensor:
        """Coefficients of `t`, `t^2`, ... in the probability below position `t` in each panel."""
        return self.probabilities @ _INTEGRALS.to(self.probabilities)

    def points(self, convert: Callable[[Tensor], Tensor]) -> Tensor:
        """The nodes as points of shape `(M n, *batch)`, converted to another dtype."""
        nodes = convert(self.panels.nodes).expand(self.probabilities.shape)
        return nodes.flatten(-2).movedim(-1, 0)

    def on_panels(self, values: Tensor) -> Tensor:
        """Values at the points `(M n, *batch)` as `(*batch, M, n)`, in float64."""
        return values.double().movedim(0, -1).unflatten(-1, self.probabilities.shape[-2:])

    def inverse(self, dtype: torch.dtype) -> PanelInverse:
        """The inverse of the panels of all rows, one after the other."""
        if dtype not in self._inverses:
            rows = self.cdf.shape[:-1]
            low = self.panels.edges[..., :-1].expand(*rows, -1).reshape(-1)
            width = self.panels.edges.diff().expand(*rows, -1).reshape(-1)
            coefficients = self.coefficients.reshape(-1, NODES_PER_PANEL)
            self._inverses[dtype] = PanelInverse(low, width, coefficients, dtype=dtype)
        return self._inverses[dtype]

    def below(self, z: Tensor) -> Tensor:
        """Distribution function at points of shape `(..., *batch)`."""
        rows = self.cdf.shape[:-1]
        edges = self.panels.edges.expand(*rows, -1)
        parts = [part.reshape(-1) for part in (edges[..., :-1], edges.diff())]
        columns = [c.reshape(-1) for c in (self.cdf[..., :-1], *self.coefficients.unbind(-1))]

        def below(z: Tensor) -> Tensor:
            index = self._panel(z).reshape(-1)
            low, width = (part.index_select(0, index) for part in parts)
            t = ((z.reshape(-1) - low) / width).clamp(0, 1)
            level = horner([column.index_select(0, index) for column in columns], t)
            return level.view(z.shape).clamp(0, 1)

        return in_blocks(below, z, batch=rows)

    def _panel(self, z: Tensor) -> Tensor:
        """Index of the panel that holds each `z`, among the panels of all rows."""
        rows = self.cdf.shape[:-1]
        panel = locate(self.panels.edges, z, rows)
        return panel + (self.cdf.shape[-1] - 1) * row_index(rows, z)


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
