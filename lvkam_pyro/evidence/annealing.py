"""The base of estimators that carry particles along a path of temperatures."""

from abc import abstractmethod

import torch
from torch import Tensor

from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.fisher import MAX_GRADIENT_DRAWS, with_fisher_gradient
from lvkam_pyro.evidence.islands import island_size
from lvkam_pyro.evidence.verdict import (
    MAX_CHAIN_SPREAD,
    MIN_EFFECTIVE_SAMPLE_SIZE,
    Gate,
    Verdict,
)
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.ladder.tempering import AnnealedDraws, AnnealingPath, anneal
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.jackknife import leave_one_out_log_mean_exp, log_mean_exp
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.statistics.weights import pareto_k
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

MIN_REPLICATES = 8
"""Islands below which a standard error says little."""


class AnnealingEstimator(Estimator):
    """An estimator by weighted particles that go from the prior to the posterior.

    The temperatures, step sizes and covariances are learned from other particles, so that each
    island's exp(estimate) is unbiased; islands are the replicates of the standard error. It needs
    no guide: one that is given is left aside.

    Implementing one: define `path(target)`, `gates(summary)`, and set `threshold` and `remedy`.

    Args:
        num_particles: S, at least (rounded up to full islands).
        num_replicates: R islands, at least 8.
        num_moves: MALA steps at each temperature.

    Attributes:
        threshold: The share of effective particles below which an island resamples.
        remedy: What to use instead.

    Example:
        >>> import lvkam_pyro as lv
        >>> isinstance(lv.evidence.TemperedSMC(), AnnealingEstimator)
        True
    """

    threshold: float
    remedy: str

    def __init__(self, num_particles: int, *, num_replicates: int, num_moves: int) -> None:
        check_count("num_particles", num_particles)
        self.num_replicates = check_count("num_replicates", num_replicates, minimum=MIN_REPLICATES)
        self.num_moves = check_count("num_moves", num_moves)
        super().__init__(num_particles=num_particles)

    @property
    def num_drawn(self) -> int:
        """The number of particles in full islands."""
        return island_size(self.num_particles, self.num_replicates) * self.num_replicates

    @abstractmethod
    def path(self, target: GradientTarget) -> AnnealingPath:
        """The temperatures and how to move at each."""

    @abstractmethod
    def gates(self, summary: dict[str, Tensor]) -> list[Gate]:
        """The estimator's own conditions on its diagnostics."""

    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Estimate the log evidence; see `Estimator.estimate`. A guide is left aside."""
        parts, evaluations = [], 0
        with program.session(seed=seed):
            for block in program.blocks(self.num_drawn * program.values_per_unit):
                target = GradientTarget(block)
                parts.append(_summarize(*self._run(target)))
                evaluations = max(evaluations, target.num_evaluations)
        summary = {name: program.join([part[name] for part in parts]) for name in parts[0]}
        return self._conclude(summary, program, evaluations)

    def _run(self, target: GradientTarget) -> tuple[AnnealedDraws, AnnealingPath]:
        path = self.path(target)
        position = target.draw_finite_prior(self.num_drawn)
        draws = anneal(
            target,
            path,
            position,
            num_islands=self.num_replicates,
            num_moves=self.num_moves,
            threshold=self.threshold,
        )
        return draws, path

    def _conclude(
        self, summary: dict[str, Tensor], program: BoundProgram, evaluations: int
    ) -> Evidence:
        replicates = summary.pop("replicates")
        summary["island_spread"] = replicates.std(0)
        spread = "a spread of the islands in nats"
        gates = [
            *self.gates(summary),
            Gate.below("an effective sample size", summary["ess"], MIN_EFFECTIVE_SAMPLE_SIZE),
            Gate.above(spread, summary["island_spread"], MAX_CHAIN_SPREAD),
        ]
        return Evidence.of(
            log_mean_exp(replicates),
            leave_one_out_log_mean_exp(replicates),
            diagnostics=summary,
            verdict=Verdict.of(gates, remedy=self.remedy),
            num_likelihood_evaluations=evaluations,
            estimator=self.name,
            data_hash=program.data_hash,
            data_scale=program.data_scale,
        )

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total, whose gradient is that of the joint density at the last particles."""
        target = GradientTarget(program)
        with torch.no_grad():
            draws, _ = self._run(target)
            population = draws.population
            log_weights = population.pooled_log_weights
            possible = log_weights.amax(0) > -torch.inf
            index = resample_systematic(torch.where(possible, log_weights, 0.0), MAX_GRADIENT_DRAWS)
            position = population.state.position[0].take_along_dim(index[..., None], 0)
            latents = target.constrain(position)
        total = float(log_mean_exp(population.log_ratio).sum())
        return with_fisher_gradient(total, program, latents), program.data_scale


def _summarize(draws: AnnealedDraws, path: AnnealingPath) -> dict[str, Tensor]:
    """The diagnostics of the draws of a block of data, per datum."""
    below_one = (path.temperatures < 1).sum(0)
    summary = {
        "replicates": draws.population.log_ratio,
        "ess": draws.ess,
        "pareto_k": pareto_k(draws.population.pooled_log_weights),
        "acceptance": draws.acceptance,
        "num_temperatures": below_one + 1,
    }
    return {name: to_double(value) for name, value in summary.items()}
