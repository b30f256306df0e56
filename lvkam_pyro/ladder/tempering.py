"""Populations on the way from prior to posterior: paths that they learn, and runs along one."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.ladder.adaptation import (
    PARTICLES_PER_CHAIN,
    Metric,
    Start,
    Tuning,
    at_scale_of,
    blend,
    covariance_of,
    second_moment,
)
from lvkam_pyro.ladder.leapfrog import steps_and_acceptance
from lvkam_pyro.ladder.population import Population
from lvkam_pyro.ladder.state import GradientState, tempered
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.statistics.weights import effective_sample_size, normalized_weights

# Few chains still start from many particles: what decides between modes is the population, and it
# costs a fifth of the chains.
_MIN_POPULATION = 320
_NUM_MOVES = 3
_MAX_TEMPERATURES = 1000
MAX_DRIFT = 5.0
"""Standard errors of a mean that hundreds of coordinates at rest exceed once in 10,000 times."""

_MOST_UNSETTLED = 0.1
_LEAST_MOVED = 0.5
_NUM_BISECTIONS = 50
_MIN_LOG_GAP = -700.0
"""Under vague priors nearly all draws may be as absurd as that."""


class Tempering(Population):
    """A population that learns how to move: resampled at each temperature, then moved a few times.

    Args:
        target: The program.
        size: The number of particles.
        num_islands: R, which divides the size; islands are resampled by themselves.
        num_moves: Moves at each temperature.

    Attributes:
        covariance: `(1, N, D, D)` or `(1, N, D)`, of the density where it stands.
        log_step: `(1, N)`.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(2)
        >>> population = Tempering(GradientTarget(lv.bind(model, x)), 64)
        >>> population.advance(torch.tensor([0.5, 1.0]).double())
        >>> population.covariance.shape
        torch.Size([1, 2, 1, 1])
    """

    def __init__(
        self,
        target: GradientTarget,
        size: int,
        *,
        num_islands: int = 1,
        num_moves: int = _NUM_MOVES,
    ) -> None:
        super().__init__(target, target.draw_finite_prior(size), num_islands=num_islands)
        self.num_moves = num_moves
        self.covariance = covariance_of(self.state.position)
        self._acceptance = steps_and_acceptance(target.num_coordinates)[1]
        # The known scaling with the dimension: D to the power -1/6.
        first = -math.log(target.num_coordinates) / 6
        self.log_step = torch.full_like(self.temperature, first)[None]

    @property
    def rung(self) -> tuple[Tensor, Start[GradientState]]:
        """The temperatures, and the particles there with what they have learned."""
        return self.temperature, Start(self.state, self.covariance, self.log_step)

    def advance(self, temperature: Tensor) -> None:
        """Go to the next temperature of each datum, `(N,)`."""
        self.reweight(temperature)
        covariance = self._weighted_covariance()
        self.resample(math.inf)
        self._explore(covariance)

    def _explore(self, covariance: Tensor) -> None:
        """Move by a covariance, and learn it anew."""
        metric = Metric.of(covariance, self.state.position.dtype)
        for _ in range(self.num_moves):
            probability = self.move(Tuning(metric, self.log_step.exp()))
            self.log_step = self.log_step + probability.mean(1) - self._acceptance
        position = self.state.position
        self.covariance = blend(covariance_of(position), float(position.shape[1]), covariance)

    def _weighted_covariance(self) -> Tensor:
        # Islands count alike: under a vague prior their gains may differ by many nats.
        shares = self.log_weights.log_softmax(1)
        log_weights = torch.where(shares.isnan(), -torch.inf, shares).flatten(0, 1)
        position = self.state.position
        weights = normalized_weights(log_weights)
        mean = (weights[..., None] * position[0]).sum(0)
        deviation = weights.sqrt()[None, ..., None] * (position - mean)
        size = effective_sample_size(log_weights)
        size = size.reshape(1, -1, *(1,) * (self.covariance.ndim - 2))
        covariance = second_moment(deviation)
        # Under a vague prior a step may change the scale by many orders of magnitude.
        return blend(covariance, size, at_scale_of(covariance, self.covariance))

    def ascend(self, efficiency: float) -> Iterator[Tensor]:
        """Go to temperature 1 by steps that leave the same share of effective particles.

        Args:
            efficiency: The share, between 0 and 1.

        Yields:
            Each temperature, `(N,)`, where the population has come to it.
        """
        for rung in range(1, _MAX_TEMPERATURES):
            left = 1 - self.temperature
            if not bool((left > 0).any()):
                break
            gap = _next_gap(self.state.log_likelihood[0], left, efficiency)
            is_last = (gap >= left) | (rung == _MAX_TEMPERATURES - 1)
            self.advance(torch.where(is_last, 1.0, self.temperature + gap))
            yield self.temperature

    def settle(self, max_rounds: int) -> Tensor:
        """Move on where it stands, until no mean drifts any more.

        Few ancestors may have come from a vague prior, and narrow places fill slowly. Looks at the
        population after 1, 2, 4, ... rounds of moves.

        Returns:
            The last drift in standard errors, `(N,)`: of the coordinate of each datum that drifts
            most.
        """
        before, num_rounds, drift = self.state.position[0], 1, self.temperature
        while num_rounds <= max_rounds:
            for _ in range(num_rounds):
                self._explore(self.covariance)
            drift = _drift(before, self.state.position[0])
            if float((drift > MAX_DRIFT).double().mean()) <= _MOST_UNSETTLED:
                break
            before, num_rounds = self.state.position[0], 2 * num_rounds
        return drift

    def climb(self, temperatures: Tensor) -> list[tuple[Tensor, Start[GradientState]]]:
        """The rungs at given temperatures `(T,)`, the same for all data, from where it stands."""
        rungs = [self.rung]
        for temperature in temperatures.to(self.temperature)[1:]:
            self.advance(temperature.expand_as(self.temperature))
            rungs.append(self.rung)
        return rungs


def temper(target: GradientTarget, temperatures: Tensor, num_chains: int) -> Start[GradientState]:
    """A start for every rung of a ladder: particles carried from the prior to the posterior.

    Good enough to start chains from, whose warm-up forgets it.

    Args:
        target: The program.
        temperatures: `(T,)`, rising from 0.
        num_chains: The number of chains wanted at each.

    Returns:
        The start.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = GradientTarget(lv.bind(model, x))
        >>> temper(target, torch.linspace(0, 1, 4).double(), 8).state.position.shape
        torch.Size([4, 8, 3, 1])
    """
    population = Tempering(target, max(PARTICLES_PER_CHAIN * num_chains, _MIN_POPULATION))
    starts = [start for _, start in population.climb(temperatures)]
    tensors = zip(*(start.state.tensors for start in starts), strict=True)
    return Start(
        GradientState(*(torch.cat(parts)[:, :num_chains] for parts in tensors)),
        torch.cat([start.covariance for start in starts]),
        torch.cat([start.log_step for start in starts]),
    )


@dataclass(frozen=True)
class AnnealingPath:
    """Temperatures of each datum, and how to move at each.

    It is learned from particles that no estimate sees, so that a run along it adapts nothing: its
    weights are unbiased.

    Attributes:
        temperatures: `(T, N)` in float64, from 0 to 1; a datum may reach 1 before the last.
        covariance: `(T, N, D, D)` or `(T, N, D)`.
        log_step: `(T, N)`.
    """

    temperatures: Tensor
    covariance: Tensor
    log_step: Tensor

    @classmethod
    def along(cls, target: GradientTarget, temperatures: Tensor, size: int) -> Self:
        """A path of given temperatures `(T,)`, the same for all data.

        Args:
            target: The program.
            temperatures: Rising from 0.
            size: The number of particles that learn how to move.
        """
        return cls._of(Tempering(target, size).climb(temperatures))

    @classmethod
    def adaptive(cls, target: GradientTarget, efficiency: float, size: int) -> Self:
        """A path on which each step leaves the same share of effective particles, for each datum.

        The conditional effective sample size of Zhou, Johansen and Aston (2016,
        https://doi.org/10.1080/10618600.2015.1060885, section 3.3).

        Args:
            target: The program.
            efficiency: The share, between 0 and 1.
            size: The number of particles that learn it.
        """
        population = Tempering(target, size)
        start = population.rung
        return cls._of([start, *(population.rung for _ in population.ascend(efficiency))])

    @classmethod
    def _of(cls, rungs: list[tuple[Tensor, Start[GradientState]]]) -> Self:
        return cls(
            torch.stack([temperature for temperature, _ in rungs]),
            torch.cat([start.covariance for _, start in rungs]),
            torch.cat([start.log_step for _, start in rungs]),
        )

    @property
    def reversed(self) -> "AnnealingPath":
        """The same from posterior to prior."""
        return AnnealingPath(
            self.temperatures.flip(0), self.covariance.flip(0), self.log_step.flip(0)
        )

    def tuning(self, rung: int, dtype: torch.dtype) -> Tuning:
        """The metric and the step sizes at one temperature."""
        here = slice(rung, rung + 1)
        return Tuning(Metric.of(self.covariance[here], dtype), self.log_step[here].exp())


def _drift(before: Tensor, after: Tensor) -> Tensor:
    """The largest change of a mean of particles `(S, N, D)` in standard errors, `(N,)`.

    Infinite where fewer than half of them have moved at all: such particles say nothing.
    """
    change = (after - before).double()
    error = change.std(0).clamp(min=torch.finfo(after.dtype).tiny) / len(change) ** 0.5
    has_moved = (change != 0).any(-1).double().mean(0) >= _LEAST_MOVED
    return torch.where(has_moved, (change.mean(0).abs() / error).amax(-1), torch.inf)


def _next_gap(log_likelihood: Tensor, most: Tensor, efficiency: float) -> Tensor:
    """The largest step with the effective share, by bisection of its logarithm, `(N,)`.

    The share is that of the draws that are possible: others have no weight after any step.
    """
    wanted = efficiency * (log_likelihood > -torch.inf).sum(0)
    low, high = torch.full_like(most, _MIN_LOG_GAP), torch.zeros_like(most)
    for _ in range(_NUM_BISECTIONS):
        middle = (low + high) / 2
        enough = _size_after(middle.exp() * most, log_likelihood) >= wanted
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return torch.where(_size_after(most, log_likelihood) >= wanted, most, low.exp() * most)


def _size_after(gap: Tensor, log_likelihood: Tensor) -> Tensor:
    """The effective number of draws after a step, `(N,)`."""
    return effective_sample_size(tempered(gap, log_likelihood))


@dataclass(frozen=True)
class AnnealedDraws:
    """Particles at the end of a path.

    Attributes:
        population: The particles, their weights and each island's estimate.
        ess: The least effective sample size of all particles along the path, `(N,)`.
        acceptance: The least mean acceptance along the path, `(N,)`.
    """

    population: Population
    ess: Tensor
    acceptance: Tensor


def anneal(
    target: GradientTarget,
    path: AnnealingPath,
    position: Tensor,
    *,
    num_islands: int,
    num_moves: int,
    threshold: float,
) -> AnnealedDraws:
    r"""Carry particles along a path: weigh by the next temperature, resample, move, at each.

    Args:
        target: The program.
        path: From 0 to 1, or reversed.
        position: Exact draws of the density at its first temperature, `(S, N, D)`.
        num_islands: R, which divides S; islands share nothing but the path.
        num_moves: MALA steps at each temperature.
        threshold: Islands resample below this share of effective particles; 0: never.

    Returns:
        The draws.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = GradientTarget(lv.bind(model, x))
        >>> path = AnnealingPath.along(target, torch.linspace(0, 1, 9).double(), 64)
        >>> options = {"num_islands": 4, "num_moves": 1, "threshold": 0.5}
        >>> draws = anneal(target, path, torch.randn(32, 3, 1), **options)
        >>> draws.population.log_ratio.shape
        torch.Size([4, 3])
    """
    population = Population(
        target, position, temperature=path.temperatures[0], num_islands=num_islands
    )
    ess = torch.full_like(population.temperature, torch.inf)
    acceptance = torch.ones_like(ess)
    for rung, temperature in enumerate(path.temperatures[1:], start=1):
        population.reweight(temperature)
        ess = torch.minimum(ess, effective_sample_size(population.pooled_log_weights))
        population.resample(threshold)
        tuning = path.tuning(rung, position.dtype)
        for _ in range(num_moves):
            acceptance = torch.minimum(acceptance, population.move(tuning)[0].mean(0))
    return AnnealedDraws(population, ess, acceptance)
