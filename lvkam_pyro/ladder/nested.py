"""Nested sampling: islands of live points that climb to where the likelihood is high."""

import math

import torch
from torch import Tensor

from lvkam_pyro.ladder.slices import Points, SliceTarget, SliceWalk
from lvkam_pyro.statistics.nested import NestedRecord
from lvkam_pyro.tracing.program import BoundProgram

_DEATHS = 0.25
"""The share of an island's points that die at each level."""

_MOST = 0.5
"""The share of the islands at a level whose survivors count."""

_NUM_BINS = 20
"""Of the insertion ranks."""


class NestedIslands:
    r"""Independent islands of live points, for each unit, and what is recorded of them.

    At each level the quarter of an island's points with the lowest likelihoods dies, all those of
    equal likelihood together, and copies of survivors that were moved by `SliceWalk` above the
    level take their places (Skilling 2006, https://doi.org/10.1214/06-BA127). An island ends where
    no point survives, or where those that live hold no more than a share of its evidence; they
    count at their mean. Units that have ended are left out of further runs.

    Args:
        program: The bound program.
        num_islands: R.
        num_live: Live points of an island.
        num_moves: Steps of each copy.
        num_prior: The most draws from the prior, of all islands, that look for what lies above a
            plateau.
        remaining_share: Of the evidence, at which an island ends.
        max_levels: Levels after which all end.
        keep_positions: Whether the positions of the dead are kept.

    Attributes:
        start: The program on all units, over unconstrained latents.
        log_evidence: Of each island by itself, `(R, U)`.
        num_levels: `(U,)`, and `num_evaluations`, `num_tries`, `num_steps` likewise.
        ranks: Counts of the insertion ranks, in equal parts from lowest to highest, `(20, U)`.
        fewest: The least number of points of all islands above a level, `(U,)`.
        is_exhausted: Whether levels were lacking, `(U,)`.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> islands = NestedIslands(lv.bind(model, torch.zeros(2)), 8, 32, num_moves=2)
        >>> islands.run()
        >>> bool((islands.record.log_evidence() + 1.2655).abs().max() < 0.3)
        True
    """

    def __init__(
        self,
        program: BoundProgram,
        num_islands: int,
        num_live: int,
        *,
        num_moves: int,
        num_prior: int = 2**17,
        remaining_share: float = 0.01,
        max_levels: int = 1000,
        keep_positions: bool = False,
    ) -> None:
        self.num_islands, self.num_live, self.num_moves = num_islands, num_live, num_moves
        self.log_remaining, self.max_levels = math.log(remaining_share), max_levels
        self.start = self.target = SliceTarget(program)
        self._positions: list[Tensor] | None = [] if keep_positions else None
        self._deaths: list[tuple[Tensor, Tensor]] = []
        self._births: list[tuple[Tensor, Tensor]] = []
        self._units = torch.arange(program.num_units, device=program.like.device)
        self._live = self._draw(num_prior).unflatten(num_islands)
        zeros = torch.zeros_like(self._live.log_likelihood[0])
        self.log_evidence, self._log_volume = zeros - torch.inf, zeros
        self.num_levels, self.num_tries, self.num_steps = (zeros[0].clone() for _ in range(3))
        self.num_evaluations = zeros[0] + self.target.num_evaluations
        self.ranks = zeros.new_zeros(_NUM_BINS, program.num_units)
        self.fewest = torch.full_like(zeros[0], torch.inf)
        self.is_exhausted = torch.zeros_like(zeros[0], dtype=torch.bool)
        self.num_start = len(self._live.log_likelihood)

    def _draw(self, num_prior: int) -> Points:
        """Draws from the prior: 8 for each live point, more where most share the lowest value."""
        most = self.num_islands * self.num_live
        points = self.target.draw(8 * most)
        while 2 * len(points.log_prior) <= num_prior:
            above = (points.log_likelihood > points.log_likelihood.amin(0)).sum(0)
            if not bool((above < min(most, len(points.log_prior) // 2)).any()):
                break
            more = self.target.draw(len(points.log_prior))
            pairs = zip(points.tensors, more.tensors, strict=True)
            points = Points(*(torch.cat(pair) for pair in pairs))
        return points

    @property
    def nan_share(self) -> Tensor:
        """The share of NaN among the log likelihoods until the first unit ended, `(U,)`."""
        return self.start.nan_share

    @property
    def record(self) -> NestedRecord:
        """The deaths and births so far."""
        level, change = (
            torch.cat(parts) for parts in zip(*self._deaths, *self._births, strict=True)
        )
        return NestedRecord(level, change, self.num_start)

    def posterior(self) -> tuple[Tensor, Tensor]:
        """The dead, whose positions were kept, with their log weights: `(S, U, D)`, `(S, U)`."""
        position = torch.cat(self._positions or [])
        log_weights = self.record.log_weights()[: len(position)]
        return position.flatten(0, 1), log_weights.flatten(0, 1)

    def run(self) -> None:
        """Climb until every island has ended."""
        num_deaths = self.num_start - self.num_live
        for _ in range(self.max_levels):
            self._climb(num_deaths)
            num_deaths = math.ceil(_DEATHS * self.num_live)
            if not len(self._units):
                return
        self.is_exhausted[self._units] = True
        self.log_remaining = torch.inf
        self._climb(num_deaths)

    def _climb(self, num_deaths: int) -> None:
        """One level: the lowest die, and are replaced."""
        log_likelihood = self._live.log_likelihood
        level = log_likelihood.sort(0).values[num_deaths - 1]
        ends = self._ends(log_likelihood)
        self._note((log_likelihood > level).sum(0), ends)
        dead = (log_likelihood <= level) | ends
        self._bury(log_likelihood, dead)
        num_alive = (~dead).sum(0)
        self._log_volume = self._log_volume + (num_alive / len(dead)).log()
        num_born = torch.where(num_alive > 0, self.num_live - num_alive, 0)
        self._births.append(self._spread(level[None], num_born[None]))
        self._live = self._live.select(dead.byte().argsort(dim=0, stable=True)[: self.num_live])
        if bool((num_born > 0).any()):
            self._replace(level, num_alive, num_born)
        self._leave_out(num_alive)

    def _ends(self, log_likelihood: Tensor) -> Tensor:
        """The islands whose live points can add no more than the remaining share, `(R, U)`."""
        log_mean = log_likelihood.logsumexp(0) - math.log(len(log_likelihood))
        log_evidence = self.log_evidence[:, self._units]
        total = torch.logaddexp(log_evidence, self._log_volume + log_mean)
        return self._log_volume + log_likelihood.amax(0) - total < self.log_remaining

    def _bury(self, log_likelihood: Tensor, dead: Tensor) -> None:
        """Record the dead, and add them to their island's evidence."""
        order = (~dead).byte().argsort(dim=0, stable=True)[: int(dead.sum(0).max())]
        change = -dead.gather(0, order).long()
        # Islands that have ended have nobody left to die.
        change = change.where(self._log_volume > -torch.inf, 0)
        level = log_likelihood.gather(0, order)
        self._deaths.append(self._spread(level, change))
        if self._positions is not None:
            position = self._live.select(order).position
            self._positions.append(self._scatter(position.movedim(-1, 0), 0.0).movedim(0, -1))
        gain = torch.where(change < 0, level + self._log_volume, -torch.inf).logsumexp(0)
        log_evidence = self.log_evidence[:, self._units]
        gain = gain - math.log(len(dead))
        self.log_evidence[:, self._units] = torch.logaddexp(log_evidence, gain)

    def _note(self, num_above: Tensor, ends: Tensor) -> None:
        """Count the level, and who outlives it where half of the islands have come so far."""
        self.num_levels[self._units] += 1
        is_open = (self._log_volume > -torch.inf) & ~ends
        above = (num_above * is_open).sum(0).double()
        counts = (above > 0) & (is_open.double().mean(0) >= _MOST)
        fewest = torch.minimum(self.fewest[self._units], above.where(counts, torch.inf))
        self.fewest[self._units] = fewest

    def _replace(self, level: Tensor, num_alive: Tensor, num_born: Tensor) -> None:
        """Moved copies of survivors, in the places behind those who live."""
        places = torch.arange(self.num_live, device=level.device)[:, None, None]
        is_new = (places >= num_alive) & (num_born > 0)
        survivors = torch.where(places < num_alive, torch.rand_like(self._live.log_prior), 2.0)
        # Every survivor has a copy before one has two.
        turn = (places - num_alive).clamp(min=0) % num_alive.clamp(min=1)
        parents = self._live.select(survivors.argsort(dim=0).gather(0, turn))
        walk = SliceWalk(
            self.target,
            self._live.where(is_new, parents).flatten(),
            level.expand_as(is_new).flatten(0, 1),
            (self.num_moves * is_new).flatten(0, 1),
            _root_covariance(self._live.position, places < num_alive),
        )
        before = self.target.num_evaluations
        walk.run()
        self.num_evaluations[self._units] += self.target.num_evaluations - before
        self.num_tries[self._units] += walk.num_tries.sum(0)
        self.num_steps[self._units] += self.num_moves * num_born.sum(0)
        self._live = walk.points.unflatten(self.num_islands)
        self._rank(self._live.log_likelihood, is_new, num_alive)

    def _rank(self, log_likelihood: Tensor, is_new: Tensor, num_alive: Tensor) -> None:
        """Count the ranks of the new points, each among those in places before its own."""
        places = range(self.num_live)
        below, equal = (
            torch.stack([compare(log_likelihood[:p], log_likelihood[p]).sum(0) for p in places])
            for compare in (torch.lt, torch.eq)
        )
        # Any of the ranks of its equals.
        rank = below + (equal + 1) * torch.rand_like(log_likelihood)
        share = rank / torch.arange(1, self.num_live + 1, device=below.device)[:, None, None]
        bins = (share * _NUM_BINS).long().clamp(max=_NUM_BINS - 1)
        counts = torch.zeros(_NUM_BINS, bins.shape[-1]).to(self.ranks)
        counts.scatter_add_(0, bins.flatten(0, 1), is_new.flatten(0, 1).to(counts))
        self.ranks[:, self._units] += counts

    def _leave_out(self, num_alive: Tensor) -> None:
        """Go on with the units that have not ended: alone, where the program can be cut."""
        goes_on = (num_alive > 0).any(0)
        if bool(goes_on.all()):
            return
        if bool(goes_on.any()) and not self.target.program.takes_any:
            return
        index = goes_on.nonzero()[:, 0]
        self._units, self._log_volume = self._units[index], self._log_volume[:, index]
        self._live = self._live.units(index)
        if len(index):
            self.target = SliceTarget(self.target.program.rows(index))

    def _spread(self, level: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Events of the present units among all: nothing happens to the others."""
        return self._scatter(level, torch.inf), self._scatter(change, 0)

    def _scatter(self, values: Tensor, fill: float) -> Tensor:
        shape = (*values.shape[:-1], len(self.num_levels))
        return values.new_full(shape, fill).index_copy_(-1, self._units, values)


def _root_covariance(position: Tensor, mask: Tensor) -> Tensor:
    """A root of the covariance of the points that a mask `(S, R, U)` shows, `(U, D, D)`."""
    weight = mask.flatten(0, 1).double()[..., None]
    points, count = position.flatten(0, 1).double(), weight.sum(0).clamp(min=1)
    centred = (points - (weight * points).sum(0) / count) * weight
    covariance = torch.einsum("sui,suj->uij", centred, centred) / count[..., None]
    # A relative ridge, where there are fewer points than coordinates.
    ridge = 1e-6 * covariance.diagonal(dim1=-2, dim2=-1) + torch.finfo(torch.float64).tiny ** 0.5
    return torch.linalg.cholesky(covariance + ridge.diag_embed())
