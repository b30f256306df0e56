"""The base of estimators that carry particles along a path of temperatures."""

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from lvkam_pyro.evidence.estimator import MAX_GRADIENT_DRAWS, with_fisher_gradient
from lvkam_pyro.evidence.evidence import to_double
from lvkam_pyro.evidence.replicates import (
    MIN_REPLICATES,
    ReplicateEstimator,
    Summary,
    count_for_all,
    spread_gate,
)
from lvkam_pyro.evidence.verdict import MIN_EFFECTIVE_SAMPLE_SIZE, Gate, nan_gate
from lvkam_pyro.ladder.reference import target_from
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.ladder.tempering import AnnealedDraws, AnnealingPath, anneal
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.jackknife import log_mean_exp
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.statistics.weights import pareto_k
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram


class AnnealingEstimator(ReplicateEstimator):
    """An estimator by weighted particles that go from the prior, or a guide, to the posterior.

    The temperatures, step sizes and covariances are learned from other particles, so that each
    island's exp(estimate) is unbiased; islands are the replicates of the standard error. It needs
    no guide; from one that is given the particles start in the place of the prior (see
    `target_from`).

    Implementing one: define `path(target)`, and set `threshold` and `remedy`; `gates(summary)` may
    add to the conditions.

    Args:
        num_particles: S, at least (rounded up to full islands).
        num_replicates: R islands, at least 8.
        num_moves: MALA steps at each temperature.

    Attributes:
        threshold: The share of effective particles below which an island resamples.

    Example:
        >>> import lvkam_pyro as lv
        >>> isinstance(lv.evidence.TemperedSMC(), AnnealingEstimator)
        True
    """

    threshold: float
    min_replicates = MIN_REPLICATES

    def __init__(self, num_particles: int, *, num_replicates: int, num_moves: int) -> None:
        super().__init__(num_particles, num_replicates=num_replicates)
        self.num_moves = check_count("num_moves", num_moves)

    def target(self, program: BoundProgram, guide: Program | None) -> GradientTarget:
        """The densities between which particles go."""
        return target_from(program, guide)

    def diagnostics(self, target: GradientTarget) -> Summary:
        """The diagnostics that the target itself has, `(U,)` each."""
        return {}

    @abstractmethod
    def path(self, target: GradientTarget) -> AnnealingPath:
        """The temperatures and how to move at each."""

    def summaries(self, program: BoundProgram, guide: Program | None) -> Iterator[Summary]:
        """The particles of each block of data; see the base class."""
        for block in program.blocks(self.num_drawn * program.values_per_unit):
            target = self.target(block, guide)
            path = self.path(target)
            draws = self.anneal(target, path, target.draw_finite_prior(self.num_drawn))
            count = count_for_all(block, target.num_evaluations)
            summary = {**_summarize(draws, path), "nan_share": target.nan_share}
            summary |= self.diagnostics(target)
            yield {"num_evaluations": count, **summary}

    def anneal(
        self, target: GradientTarget, path: AnnealingPath, position: Tensor
    ) -> AnnealedDraws:
        """The islands' particles, carried along a path from exact draws at its start."""
        return anneal(
            target,
            path,
            position,
            num_islands=self.num_replicates,
            num_moves=self.num_moves,
            threshold=self.threshold,
        )

    def gates(self, summary: Summary) -> list[Gate]:
        """Particles enough count, and the islands agree."""
        return [
            Gate.below("an effective sample size", summary["ess"], MIN_EFFECTIVE_SAMPLE_SIZE),
            spread_gate(summary),
            nan_gate(summary["nan_share"]),
        ]

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total, whose gradient is that of the joint density at the last particles."""
        with torch.no_grad():
            target = self.target(program, guide)
            path = self.path(target)
            position = target.draw_finite_prior(self.num_drawn)
            population = self.anneal(target, path, position).population
            log_weights = population.pooled_log_weights
            possible = log_weights.amax(0) > -torch.inf
            index = resample_systematic(torch.where(possible, log_weights, 0.0), MAX_GRADIENT_DRAWS)
            position = population.state.position[0].take_along_dim(index[..., None], 0)
            latents = target.constrain(position)
        total = float(log_mean_exp(population.log_ratio).sum())
        return with_fisher_gradient(total, program, latents), program.data_scale


def _summarize(draws: AnnealedDraws, path: AnnealingPath) -> Summary:
    """The diagnostics of the draws of a block of data, per datum."""
    replicates = to_double(draws.population.log_ratio)
    return {
        "replicates": replicates,
        "ess": draws.ess,
        "pareto_k": pareto_k(draws.population.pooled_log_weights),
        "acceptance": draws.acceptance,
        "num_temperatures": (path.temperatures < 1).sum(0) + 1,
        "island_spread": replicates.std(0),
    }
