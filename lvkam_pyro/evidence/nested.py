"""Evidence by nested sampling, which asks of the likelihood only what is higher."""

import math

import torch
from scipy.stats import chi2
from torch import Tensor

from lvkam_pyro.evidence.estimator import MAX_GRADIENT_DRAWS, Estimator, with_fisher_gradient
from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.replicates import MIN_REPLICATES, Summary, spread_gate
from lvkam_pyro.evidence.verdict import MIN_EFFECTIVE_SAMPLE_SIZE, Gate, nan_gate
from lvkam_pyro.ladder.nested import NestedIslands
from lvkam_pyro.options import check_count, check_share
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

_MIN_RANK_P_VALUE = 1e-4
"""A chance of false alarm; ranks of slice moves that are too few have p-values far below."""
_MIN_MOVES = 3
"""With two, insertion ranks of one latent were not uniform."""
_LEVELS_PER_RUN = 20
"""Of a run of medium length: how many deaths, in numbers of live points, memory is planned for."""


class NestedSampling(Estimator):
    r"""Live points that die from the lowest likelihood on, while others climb above it.

    .. math:: \log \hat p(x_n) = \log \sum_i \frac{X_i}{n_i} L_i, \qquad X_{i+1} = X_i (1 - 1/n_i)

    (Skilling 2006, https://doi.org/10.1214/06-BA127). Only the order of the likelihoods steers the
    points: a narrow peak that no temperature between prior and posterior shows is climbed like any
    other, as `spike_and_plateau` in 5 dimensions. R islands share nothing but the metric of their
    moves; merged they are one run, whose log has little bias (its exp is not exactly unbiased), and
    leaving out one at a time gives the standard error: moves too short to forget their parents
    widen it. Simulated volumes, the usual error of nested sampling, do not see those.

    Cost and accuracy: in 5 dimensions 170 to 290 thousand evaluations and errors of 0.06 and 0.1
    nats for a peak in 1e-4 and 2e-6 of the prior, 0.17 at 1e-7; in 10 dimensions 0.08 to 0.17 nats
    for 0.3 to 0.85 million. The error is at least :math:`\sqrt{H / S}` for S live points, H the
    information gained in nats, and evaluations grow with H S. Where peaks are not hidden,
    `MixtureImportance` or `TemperedSMC` is cheaper.

    What remains invisible: what no live point has met when their values stop to matter. On an
    exact plateau that is a peak whose *rise above rounding* takes less than about 1e-4 of the prior
    (10 of `num_prior_draws`); its core can be thousands of times smaller. On a slope, a peak off
    the way whose foot holds less than 1/S of the prior at its own height, and whatever rises after
    the live points have less than `remaining_share` of the evidence.

    Diagnostics, `(U,)` each: `information` (H, from prior to posterior), `island_spread`,
    `rank_p_value` (of insertion ranks, which are uniform where moves forget their parents: Fowlie,
    Handley and Su 2020, https://doi.org/10.1093/mnras/staa2345), `fewest_survivors` of a level,
    `num_levels`, `num_tries` (the mean evaluations of a slice step) and `num_evaluations`. The
    verdict is unreliable at a p-value below 1e-4, a spread above 2 nats, fewer than 10 survivors,
    or levels exhausted. It needs no guide and no gradients: a guide is left aside.

    Args:
        num_live_points: S, at least (rounded up to full islands of at least 8).
        num_replicates: R islands, at least 8.
        num_moves: Slice steps of each new point; None: half the number of coordinates, at least 3.
        num_prior_draws: The most prior draws that look for what lies above a plateau (where there
            is none, 8 for each live point).
        remaining_share: Of the evidence among live points, at which an island ends.
        max_levels: Levels at each of which a quarter of the points dies.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is too small, or the share not between 0 and 1; when used, if a
            latent cannot move on the real line.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> evidence = NestedSampling(512).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 0.2)
        True
    """

    name = "NestedSampling"
    remedy = "Use more num_moves, then more num_live_points (or num_prior_draws on a plateau)."

    def __init__(
        self,
        num_live_points: int = 2048,
        *,
        num_replicates: int = 16,
        num_moves: int | None = None,
        num_prior_draws: int = 2**17,
        remaining_share: float = 0.01,
        max_levels: int = 1000,
    ) -> None:
        super().__init__()
        self.num_replicates = check_count("num_replicates", num_replicates, minimum=MIN_REPLICATES)
        points = check_count("num_live_points", num_live_points)
        self.num_live_points = max(8, math.ceil(points / num_replicates)) * num_replicates
        self.num_moves = None if num_moves is None else check_count("num_moves", num_moves)
        self.num_prior_draws = check_count("num_prior_draws", num_prior_draws)
        self.remaining_share = check_share("remaining_share", remaining_share)
        self.max_levels = check_count("max_levels", max_levels)

    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Estimate the log evidence; see `Estimator.estimate`. A guide is left aside."""
        with program.session(seed=seed):
            events = max(self.num_prior_draws, _LEVELS_PER_RUN * self.num_live_points)
            blocks = program.blocks(max(events, self.num_live_points * program.values_per_unit))
            parts = [self._summary(self._run(block)) for block in blocks]
        summary = {n: to_double(program.join([part[n] for part in parts])) for n in parts[0]}
        log_evidence, leave_one_out = summary.pop("log_evidence"), summary.pop("leave_one_out")
        return self.conclude(
            program,
            log_evidence,
            leave_one_out,
            gates=_gates(summary),
            num_evaluations=math.ceil(summary["num_evaluations"].mean()),
            diagnostics=summary,
        )

    def _run(self, program: BoundProgram, *, keep_positions: bool = False) -> NestedIslands:
        moves = self.num_moves or max(_MIN_MOVES, math.ceil(program.structure.num_coordinates / 2))
        islands = NestedIslands(
            program,
            self.num_replicates,
            self.num_live_points // self.num_replicates,
            num_moves=moves,
            num_prior=self.num_prior_draws,
            remaining_share=self.remaining_share,
            max_levels=self.max_levels,
            keep_positions=keep_positions,
        )
        islands.run()
        return islands

    def _summary(self, islands: NestedIslands) -> Summary:
        record = islands.record
        log_evidence, information = record.log_evidence_and_information()
        return {
            "log_evidence": log_evidence,
            "leave_one_out": record.leave_one_out(),
            "information": information,
            "island_spread": islands.log_evidence.std(0),
            "rank_p_value": _uniformity(islands.ranks),
            "fewest_survivors": islands.fewest,
            "num_levels": islands.num_levels,
            "num_tries": islands.num_tries / islands.num_steps.clamp(min=1),
            "num_evaluations": islands.num_evaluations,
            "is_exhausted": islands.is_exhausted,
            "nan_share": islands.nan_share,
        }

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total, whose gradient is that of the joint density at the weighted dead points."""
        with torch.no_grad():
            islands = self._run(program, keep_positions=True)
            position, log_weights = islands.posterior()
            possible = log_weights.amax(0) > -torch.inf
            index = resample_systematic(torch.where(possible, log_weights, 0.0), MAX_GRADIENT_DRAWS)
            latents = islands.start.constrain(position.take_along_dim(index[..., None], 0))
            total = float(islands.record.log_evidence().sum())
        return with_fisher_gradient(total, program, latents), program.data_scale


def _gates(summary: Summary) -> list[Gate]:
    """The points' moves forget where they began, and the islands agree on enough points."""
    exhausted = summary.pop("is_exhausted") > 0
    return [
        Gate(~summary["information"].isfinite(), "have no possible point among the prior's draws"),
        Gate.below("a p-value of the insertion ranks", summary["rank_p_value"], _MIN_RANK_P_VALUE),
        spread_gate(summary),
        Gate.below("survivors of a level", summary["fewest_survivors"], MIN_EFFECTIVE_SAMPLE_SIZE),
        Gate(exhausted, "had not ended at the last of max_levels"),
        nan_gate(summary["nan_share"]),
    ]


def _uniformity(counts: Tensor) -> Tensor:
    """The p-value of Pearson's chi-squared of equal chances, of counts `(B, U)`; 1 of none."""
    expected = counts.mean(0)
    statistic = ((counts - expected).square() / expected.clamp(min=1e-9)).sum(0)
    return torch.from_numpy(chi2.sf(statistic.cpu().numpy(), len(counts) - 1))
