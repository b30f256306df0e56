"""The base of estimators by replicates: islands of particles that share nothing."""

import math
from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.verdict import MAX_CHAIN_SPREAD, Gate
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.jackknife import leave_one_out_log_mean_exp, log_mean_exp
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

MIN_REPLICATES = 8
"""Replicates below which a standard error says little, where their estimates are skewed."""

Summary = dict[str, Tensor]
"""Name to values of some units, `(..., U)` each."""


class ReplicateEstimator(Estimator):
    r"""An estimator by R replicates, each with an estimate whose exp is unbiased.

    .. math:: \log \hat p(x_n) = \log \frac1R \sum_r \hat p_r(x_n)

    Their jackknife is the standard error. The data are estimated block by block.

    Implementing one: define `summaries(program, guide)` and `gates(summary)`.

    Args:
        num_particles: S, at least (rounded up to full replicates).
        num_replicates: R.

    Attributes:
        min_replicates: The least R that is allowed.

    Example:
        >>> import lvkam_pyro as lv
        >>> lv.evidence.Lookahead(100, num_replicates=32).num_drawn
        128
    """

    min_replicates = 2

    def __init__(self, num_particles: int, *, num_replicates: int) -> None:
        super().__init__(num_particles=check_count("num_particles", num_particles))
        minimum = self.min_replicates
        self.num_replicates = check_count("num_replicates", num_replicates, minimum=minimum)

    def replicate_size(self, num_particles: int) -> int:
        """The number of particles of a replicate, of at least `num_particles` in all."""
        return math.ceil(num_particles / self.num_replicates)

    @property
    def num_drawn(self) -> int:
        """The number of particles in full replicates."""
        return self.replicate_size(self.num_particles) * self.num_replicates

    @abstractmethod
    def summaries(self, program: BoundProgram, guide: Program | None) -> Iterator[Summary]:
        """The estimate of each block of data, in their order.

        Yields:
            `replicates` `(R, U)`, `num_evaluations` `(U,)`, perhaps `discretization_error` `(U,)`,
            and the diagnostics.
        """

    @abstractmethod
    def gates(self, summary: Summary) -> list[Gate]:
        """The conditions on the summary of all data."""

    def average(self, values: Tensor, dim: int = 0) -> Tensor:
        """The estimate from those along an axis: of weights, of replicates."""
        return log_mean_exp(values, dim)

    def leave_one_out(self, replicates: Tensor) -> Tensor:
        """The average without each replicate, `(R, U)`."""
        return leave_one_out_log_mean_exp(replicates)

    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Estimate the log evidence; see `Estimator.estimate`."""
        with program.session(guide, seed=seed):
            parts = list(self.summaries(program, guide))
        summary = {n: to_double(program.join([part[n] for part in parts])) for n in parts[0]}
        gates, replicates = self.gates(summary), summary.pop("replicates")
        return self.conclude(
            program,
            self.average(replicates),
            self.leave_one_out(replicates),
            gates=gates,
            num_evaluations=math.ceil(summary.pop("num_evaluations").mean()),
            discretization_error=summary.pop("discretization_error", None),
            diagnostics=summary,
        )


def count_for_all(program: BoundProgram, count: int) -> Tensor:
    """One count for each unit of a program, `(U,)`.

    Example:
        >>> import lvkam_pyro as lv, pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> count_for_all(lv.bind(model, torch.zeros(2)), 7)
        tensor([7., 7.], dtype=torch.float64)
    """
    return torch.full((program.num_units,), count, dtype=torch.float64)


def spread_gate(summary: Summary) -> Gate:
    """The condition that replicates agree, of a summary with `island_spread`.

    Example:
        >>> spread_gate({"island_spread": torch.tensor([0.1, 3.0])}).failed
        tensor([False,  True])
    """
    return Gate.above("a spread of the islands in nats", summary["island_spread"], MAX_CHAIN_SPREAD)
