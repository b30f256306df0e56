"""Weighted particles carried along a path of temperatures: annealed sampling, tempered SMC."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.ladder.chains import LadderState, Metric
from lvkam_pyro.ladder.tempering import (
    Start,
    Tempering,
    evaluate_state,
    select,
    tempered,
    transition,
)
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.statistics.weights import effective_sample_size
from lvkam_pyro.tracing.unconstrained import UnconstrainedModel

_MAX_TEMPERATURES = 1000
_NUM_BISECTIONS = 40


@dataclass(frozen=True)
class AnnealingPath:
    """Temperatures of each datum, and how to move at each.

    It is learned from a population of its own, so that a run along it adapts nothing: its weights
    are unbiased.

    Attributes:
        temperatures: `(T, N)` in float64, from 0 to 1; a datum may reach 1 before the last.
        covariance: `(T, N, D, D)` or `(T, N, D)`.
        log_step: `(T, N)`.
    """

    temperatures: Tensor
    covariance: Tensor
    log_step: Tensor

    @classmethod
    def along(cls, target: UnconstrainedModel, temperatures: Tensor, size: int) -> Self:
        """A path of given temperatures `(T,)`, the same for all data.

        Args:
            target: The model.
            temperatures: Rising from 0.
            size: The number of particles that learn how to move.
        """
        population = Tempering(target, size)
        rungs = [(population.temperature, population.rung)]
        for temperature in temperatures[1:]:
            population.advance(temperature.expand(target.num_data))
            rungs.append((population.temperature, population.rung))
        return cls._of(rungs)

    @classmethod
    def adaptive(cls, target: UnconstrainedModel, efficiency: float, size: int) -> Self:
        """A path on which each step leaves the same share of effective particles, for each datum.

        The conditional effective sample size of Zhou, Johansen and Aston (2016,
        https://doi.org/10.1080/10618600.2015.1060885, section 3.3).

        Args:
            target: The model.
            efficiency: The share, between 0 and 1.
            size: The number of particles that learn it.
        """
        population = Tempering(target, size)
        rungs = [(population.temperature, population.rung)]
        while bool((population.temperature < 1).any()) and len(rungs) < _MAX_TEMPERATURES:
            log_likelihood = population.rung.state.log_likelihood[0]
            gap = _next_gap(log_likelihood, 1 - population.temperature, efficiency)
            population.advance(torch.where(gap < 1, population.temperature + gap, 1).clamp(max=1))
            rungs.append((population.temperature, population.rung))
        return cls._of(rungs)

    @classmethod
    def _of(cls, rungs: list[tuple[Tensor, Start]]) -> Self:
        return cls(
            torch.stack([temperature for temperature, _ in rungs]),
            torch.cat([rung.covariance for _, rung in rungs]),
            torch.cat([rung.log_step for _, rung in rungs]),
        )

    @property
    def reversed(self) -> "AnnealingPath":
        """The same from posterior to prior."""
        return AnnealingPath(
            self.temperatures.flip(0), self.covariance.flip(0), self.log_step.flip(0)
        )


def _next_gap(log_likelihood: Tensor, most: Tensor, efficiency: float) -> Tensor:
    """The largest step with the effective share, by bisection, `(N,)`."""
    low, high = torch.zeros_like(most), most.clone()
    for _ in range(_NUM_BISECTIONS):
        middle = (low + high) / 2
        size = effective_sample_size(tempered(middle, log_likelihood))
        enough = size >= efficiency * len(log_likelihood)
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    whole = effective_sample_size(tempered(most, log_likelihood))
    # Draws that are all impossible, or all but a few, have no such step: they take the whole one.
    stuck = low <= 1e-12 * most
    return torch.where((whole >= efficiency * len(log_likelihood)) | stuck, most, low)


@dataclass(frozen=True)
class AnnealedDraws:
    """What a run along a path leaves.

    Attributes:
        log_ratio: The log of each island's unbiased estimate of the ratio of the last to the
            first normaliser, `(R, N)`.
        log_weights: The particles' last weights, `(R, S / R, N)`.
        state: The particles, `(1, S, N)`, islands one after the other.
        ess: The least effective sample size of all particles along the path, `(N,)`.
        acceptance: The least mean acceptance along the path, `(N,)`.
    """

    log_ratio: Tensor
    log_weights: Tensor
    state: LadderState
    ess: Tensor
    acceptance: Tensor


def anneal(
    target: UnconstrainedModel,
    path: AnnealingPath,
    position: Tensor,
    *,
    num_islands: int,
    num_moves: int,
    threshold: float,
) -> AnnealedDraws:
    r"""Carry particles along a path: weigh by the next temperature, resample, move, at each.

    .. math:: \log \frac{\hat Z_T}{Z_0} = \sum_k \log \sum_i W_i e^{(t_{k+1} - t_k) l_i}

    with the weights W carried from step to step and equal only after a resampling (Del Moral,
    Doucet and Jasra 2006, https://doi.org/10.1111/j.1467-9868.2006.00553.x, section 3.2); without
    any it is annealed importance sampling (Neal 2001, https://doi.org/10.1023/A:1008923215028).

    Args:
        target: The model.
        path: From 0 to 1, or reversed.
        position: Exact draws of its first law, `(S, N, D)`.
        num_islands: R, which divides S; islands share nothing but the path.
        num_moves: MALA steps at each temperature.
        threshold: Islands resample below this share of effective particles; 0: never.

    Returns:
        The draws.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.structure import ModelStructure
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = UnconstrainedModel(model, x, ModelStructure.of(model, x))
        >>> path = AnnealingPath.along(target, torch.linspace(0, 1, 9).double(), 64)
        >>> options = {"num_islands": 4, "num_moves": 1, "threshold": 0.5}
        >>> anneal(target, path, torch.randn(32, 3, 1), **options).log_ratio.shape
        torch.Size([4, 3])
    """
    state = evaluate_state(target, position[None])
    log_weights = torch.zeros_like(state.log_likelihood[0])
    log_weights = log_weights.unflatten(0, (num_islands, -1))
    log_ratio = torch.zeros_like(log_weights[:, 0])
    ess, acceptance = log_ratio[0] + torch.inf, torch.ones_like(log_ratio[0])
    for k, gap in enumerate(path.temperatures.diff(dim=0), start=1):
        increment = tempered(gap, state.log_likelihood[0])
        log_weights = log_weights + increment.unflatten(0, (num_islands, -1))
        together = (log_weights + log_ratio[:, None]).flatten(0, 1)
        ess = torch.minimum(ess, effective_sample_size(together))
        state, log_weights, gained = _resample(state, log_weights, threshold)
        log_ratio = log_ratio + gained
        metric = Metric.of(path.covariance[k : k + 1], state.position.dtype)
        for _ in range(num_moves):
            state, probability = transition(
                target,
                state,
                path.temperatures[k][None, None],
                metric,
                path.log_step[k : k + 1].exp(),
            )
            acceptance = torch.minimum(acceptance, probability[0].mean(0))
    log_ratio = log_ratio + _log_mean(log_weights)
    return AnnealedDraws(log_ratio, log_weights, state, ess, acceptance)


def _log_mean(log_weights: Tensor) -> Tensor:
    """Each island's log mean weight, `(R, N)`."""
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


def _resample(
    state: LadderState, log_weights: Tensor, threshold: float
) -> tuple[LadderState, Tensor, Tensor]:
    """Resample the islands that need it: state, weights, and the log mean weights cashed in."""
    size = log_weights.shape[1]
    by_particle = log_weights.transpose(0, 1)
    effective = effective_sample_size(by_particle.flatten(1)).view_as(by_particle[0])
    # An island without any weight has nothing to resample from: it stays, and counts nothing.
    chosen = (effective < threshold * size) & (effective > 0)
    if not bool(chosen.any()):
        return state, log_weights, torch.zeros_like(log_weights[:, 0])
    gained = torch.where(chosen, _log_mean(log_weights), 0.0)
    safe = torch.where(chosen[:, None], log_weights, 0.0).transpose(0, 1)
    drawn = resample_systematic(safe.flatten(1), size).view_as(safe).transpose(0, 1)
    stay = torch.arange(size, device=drawn.device)[None, :, None]
    first = size * torch.arange(len(log_weights), device=drawn.device)[:, None, None]
    index = first + torch.where(chosen[:, None], drawn, stay)
    log_weights = torch.where(chosen[:, None], 0.0, log_weights)
    return select(state, index.flatten(0, 1)[None]), log_weights, gained
