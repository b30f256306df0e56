"""Draws of an energy density by rejection under a true bound."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Size, Tensor

from lvkam_pyro.distributions.bounds import BernsteinBound, Bound
from lvkam_pyro.distributions.envelope import ConstantEnvelope, Envelope, LogLinearEnvelope
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.reference import is_flat
from lvkam_pyro.distributions.univariate import UnivariateDensity

_LOWEST_RATE = 1e-3

_SLACK = 1e-2

_BLOCK = 2**17
"""Elements that are proposed at once, few enough to stay in the cache."""


@dataclass(frozen=True)
class RejectionSampler:
    r"""Draws from an energy density by acceptance and rejection, element by element.

    .. math:: z \sim e^{g(z)} \pi_0(z) / A, \quad
              \text{accepted with probability } e^{f(z) - g(z)}, \qquad g \ge f

    The bound `g` is above the energy everywhere, not only at points that were tried, so the draws
    follow the density exactly. Only refused elements are proposed again. A proposal is a piece by
    table lookup (:class:`AliasTable`) and a point in it; most are accepted by a lower bound of the
    energy, without its value (Marsaglia's squeeze). Mixtures draw component and piece together.

    Use it by ``density.drawn_by(RejectionSampler())``: the same density with the same gradients, in
    ``pyro.sample`` as elsewhere.

    Arguments:
        envelope: Form of the bound on a piece. Default: log-linear under a uniform reference,
            constant under any other.
        bound: Where the bound comes from: the polynomials of a log-spline by default, or a
            :class:`~lvkam_pyro.distributions.bounds.CurvatureBound` for any other energy.

    Example:
        >>> import lvkam_pyro as lv
        >>> slopes = torch.tensor([[[0.0, -8.0]], [[0.0, 8.0]]])  # f(t) = -8 t and 8 t
        >>> density = lv.LogSpline(slopes, torch.tensor([0.0, 1.0]))
        >>> sampler = RejectionSampler(lv.distributions.ConstantEnvelope(num_pieces=8))
        >>> density.drawn_by(sampler).rsample((100,)).shape
        torch.Size([100, 2])
        >>> sampler.acceptance_rate(density)
        tensor([0.6321, 0.6321])
    """

    envelope: Envelope | None = None
    bound: Bound = field(default_factory=BernsteinBound)

    def __call__(self, density: UnivariateDensity, shape: Size) -> Tensor:
        """Independent draws of the given shape, which ends in the density's own."""
        proposal = self._proposal(density)
        num_rows = density._parameter_shape.numel()
        z = proposal.log_rate.new_empty(shape.numel(), dtype=density.dtype)
        row = torch.arange(num_rows, device=z.device)
        row = row.repeat_interleave(shape.numel() // num_rows)
        for start in range(0, len(row), _BLOCK):
            block = slice(start, start + _BLOCK)
            z[block] = proposal.draw_until_accepted(row[block])
        return z.view(num_rows, -1).T.reshape(shape)

    def acceptance_rate(self, density: UnivariateDensity) -> Tensor:
        """The probability that a proposal is accepted, exactly, of the density's batch shape."""
        density._refresh()
        rate = self._proposal(density).log_rate.exp().view(density._parameter_shape)
        return rate.to(density.dtype).expand(density.batch_shape)

    def _proposal(self, density: UnivariateDensity) -> "_Proposal":
        """The proposals, kept beside the table of the density that they belong to."""
        if self not in density._tables:
            with torch.no_grad():
                density._tables[self] = _Proposal(density, self.envelope, self.bound)
        proposal: _Proposal = density._tables[self]
        return proposal


class _Proposal:
    """Proposals and their acceptance, for densities flattened to `R` rows."""

    def __init__(self, density: UnivariateDensity, envelope: Envelope | None, bound: Bound) -> None:
        leaf, log_weights = _components(density)
        if envelope is None:
            envelope = LogLinearEnvelope() if is_flat(leaf.reference) else ConstantEnvelope()
        self._leaf = leaf
        self._pieces = envelope.tabulate(leaf, bound)
        log_mass = self._pieces.log_mass
        log_mass = log_mass + (log_weights - leaf._table.log_normalizer).reshape(-1, 1)
        log_mass = log_mass.view(density._parameter_shape.numel(), -1)
        self.log_rate = -log_mass.logsumexp(-1)
        _check_rate(self.log_rate)
        threshold, alias = AliasTable.of(log_mass.softmax(-1))
        self._columns = AliasTable(threshold.to(density.dtype), alias)

    def draw_until_accepted(self, row: Tensor) -> Tensor:
        """A draw of each row, of the shape `(n,)` of `row`."""
        z, accepted = self._draw(row)
        pending = (~accepted).nonzero().squeeze(-1)
        while len(pending):
            z[pending], accepted = self._draw(row[pending])
            pending = pending[~accepted]
        return z

    def _draw(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """A proposal of each row, and whether it is accepted."""
        slot = self._columns.draw(row)
        z, log_bound, squeeze = self._pieces.draw(slot)
        z = self._leaf._open(z)
        u = torch.rand_like(z)
        accepted = u < squeeze
        doubtful = (~accepted).nonzero().squeeze(-1)
        component = slot[doubtful] // self._pieces.log_mass.shape[-1]
        gap = log_bound[doubtful] - self._energy(component, z[doubtful])
        _check_bound(gap, log_bound[doubtful])
        accepted[doubtful] = u[doubtful] < gap.neg().exp()
        return z, accepted

    def _energy(self, row: Tensor, z: Tensor) -> Tensor:
        shape, reference = self._leaf._parameter_shape, self._leaf.reference
        potential = evaluate_rows(self._leaf._log_potential, row, z, shape)
        return potential if is_flat(reference) else potential - reference.log_prob(z)


def _components(density: UnivariateDensity) -> tuple[UnivariateDensity, Tensor]:
    """The density's components, and their log weights; itself with weight 1, if it has none."""
    if isinstance(density, EnergyMixture):
        return density.components, density.log_weights.detach().double()
    return density, density.panels.edges.new_zeros(())


def _check_rate(log_rate: Tensor) -> None:
    lowest = log_rate.exp().min()
    if not lowest > _LOWEST_RATE:
        raise ValueError(
            f"Expected an envelope that accepts more than {_LOWEST_RATE:g} of its proposals, got "
            f"a rate of {lowest:.2g}. Give it more pieces, as LogLinearEnvelope(num_pieces=16), a "
            "tighter curvature, or draw by inversion, the default of every density."
        )


def _check_bound(gap: Tensor, log_bound: Tensor) -> None:
    # Far above rounding, which is all that polynomials can exceed their hull by.
    wrong = gap < -_SLACK * (1 + log_bound.abs())
    if wrong.any():
        raise ValueError(
            f"Expected an energy below its bound, got one that exceeds it by "
            f"{-gap[wrong].min():.3g}: the curvature given is not a bound of -f'' in each cell. "
            "Raise it, or make a cell end wherever the energy has a kink."
        )


def evaluate_rows(
    function: Callable[[Tensor], Tensor], row: Tensor, z: Tensor, shape: Size
) -> Tensor:
    """Values of function `row[i]` at `z[i]`, by one call on a rectangle with a column for each row.

    Arguments:
        function: Takes values of shape `(..., *shape)`, elementwise.
        row: Indices of functions, in any order, of shape `(n,)`.
        z: Points, of shape `(n,)`.
        shape: The batch of functions.
    """
    if not len(row):
        return z
    count = torch.bincount(row, minlength=shape.numel())
    order = row.argsort()
    place = torch.empty_like(row)
    place[order] = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row[order]]
    # Gaps in the rectangle are filled with some point of the support.
    columns = z[0].expand(int(count.max()), len(count)).clone()
    columns[place, row] = z
    return function(columns.view(-1, *shape)).view(columns.shape)[place, row]


class AliasTable(NamedTuple):
    r"""Walker's alias tables of many discrete distributions, one a row.

    Column `c` of a row is kept with probability `threshold[c]` and exchanged for `alias[c]`
    otherwise, so that a draw is one uniform column, one comparison and no search:

    .. math:: p_c = \frac{1}{C} \Big( t_c + \sum_{k : a_k = c} (1 - t_k) \Big)

    (Walker 1977, "An efficient method for generating discrete random variables with general
    distributions"). All rows are built at once by prefix sums: Huebschle-Schneider and Sanders
    2022, "Parallel Weighted Random Sampling", section 4.2, https://arxiv.org/abs/1903.00227.

    Attributes:
        threshold: Probabilities to keep a column, of shape `(R, C)`.
        alias: The other column, as an index into the flattened table, of shape `(R, C)`.
    """

    threshold: Tensor
    alias: Tensor

    @staticmethod
    def of(weights: Tensor) -> "AliasTable":
        """The tables of non-negative weights of shape `(R, C)`, normalised by row."""
        num_columns = weights.shape[-1]
        weights = weights * (num_columns / weights.sum(-1, keepdim=True))
        # The light columns first: each is filled up by the heavy one that the sweep has reached.
        order = (weights >= 1).int().argsort(dim=-1, stable=True)
        excess = weights.gather(-1, order) - 1
        deficit, surplus = excess.neg().clamp(min=0).cumsum(-1), excess.clamp(min=0).cumsum(-1)
        light = excess < 0
        # Shifted, not subtracted: both searches must see the same values to break ties alike.
        before = torch.nn.functional.pad(deficit[:, :-1], (1, 0))
        filled_by = torch.searchsorted(surplus, before, right=True)
        # A heavy column that gave more than it had is filled up by its successor.
        overdrawn = torch.searchsorted(deficit, surplus).clamp(max=num_columns - 1)
        debt = (surplus - deficit.gather(-1, overdrawn)).clamp(max=0).masked_fill(surplus == 0, 0)
        place = torch.arange(num_columns, device=weights.device)
        partner = torch.where(light, filled_by, place + 1).clamp(max=num_columns - 1)
        threshold = 1 + torch.where(light, excess, debt)
        row = torch.arange(len(weights), device=weights.device)[:, None] * num_columns
        alias = order.gather(-1, partner) + row
        return AliasTable(
            torch.empty_like(threshold).scatter_(-1, order, threshold),
            torch.empty_like(alias).scatter_(-1, order, alias),
        )

    def draw(self, row: Tensor) -> Tensor:
        """An entry of the flattened table for each `row`: an index of the shape of `row`."""
        num_columns = self.threshold.shape[-1]
        scaled = torch.rand(row.shape, dtype=self.threshold.dtype, device=row.device) * num_columns
        # In float32 the product may round up to the number of columns.
        column = scaled.long().clamp_(max=num_columns - 1)
        slot = torch.add(column, row, alpha=num_columns)
        keep = scaled - column < self.threshold.view(-1).index_select(0, slot)
        return torch.where(keep, slot, self.alias.view(-1).index_select(0, slot))
