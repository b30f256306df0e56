"""Evidence of additive models by look-ahead sequential importance resampling."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lvkam_pyro.additive.conditionals import discretization_error
from lvkam_pyro.additive.lookahead_sampler import LookaheadSampler
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.evidence.replicates import ReplicateEstimator, Summary, spread_gate
from lvkam_pyro.evidence.verdict import Gate
from lvkam_pyro.guides.lookahead import LookaheadGuide
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.jackknife import log_mean_exp
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.statistics.weights import largest_weight
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

_MAX_LOGITS = 2**22
"""Probabilities of nodes held at once (32 MB in double precision)."""

_NUM_CHECKED = 16
_MIN_EFFECTIVE_SAMPLE_SIZE = 100.0
_MAX_DISCRETIZATION_ERROR = 0.05


class Lookahead(ReplicateEstimator):
    r"""The evidence of each datum of an additive model, without chain or guide.

    For models whose output is a sum of functions of one latent each with normal noise (see
    `AdditiveModel`): the latents are drawn one after the other on quadrature nodes, each with a
    normal look-ahead over those to come (see `LookaheadSampler`). Exact for linear models with
    normal priors, and unbiased on the nodes for all. Islands are the replicates of the standard
    error; the discretisation error is what twice as many nodes would change.
    Diagnostics: `ess` (the least at any step, over all islands), `largest_weight` (of the last
    step), `island_spread` (the standard deviation of the islands' estimates, in nats), `(N,)`
    each. There is no Pareto k: on nodes, weights are bounded.

    Args:
        num_particles: In all, at least (rounded up to full islands).
        num_replicates: Islands.
        num_nodes: Nodes of each latent; None: as many as the functions need, 96 to 1024.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If there is no particle, or fewer than two islands.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(8), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> Lookahead(64).estimate(model, torch.zeros(2)).log_evidence  # log N(0; 0, 9)
        tensor([-2.0176, -2.0176], dtype=torch.float64)
    """

    name = "Lookahead"
    remedy = "Use more particles or more nodes, or GridGibbs."

    def __init__(
        self,
        num_particles: int = 8192,
        *,
        num_replicates: int = 16,
        num_nodes: int | None = None,
    ) -> None:
        super().__init__(num_particles, num_replicates=num_replicates)
        self.num_nodes = None if num_nodes is None else check_count("num_nodes", num_nodes)

    def summaries(self, program: BoundProgram, guide: Program | None) -> Iterator[Summary]:
        """The draws of each block of data; see the base class. A guide is left aside."""
        tables = AdditiveTables.of(AdditiveModel.of(program), num_nodes=self.num_nodes)
        sampler, (residual, constant) = LookaheadSampler(tables), tables.project(program)
        num_logits = program.num_units * self.num_particles * tables.num_nodes
        num_blocks = min(math.ceil(num_logits / _MAX_LOGITS), program.num_units)
        for block in zip(
            residual.tensor_split(num_blocks), constant.tensor_split(num_blocks), strict=True
        ):
            yield self._summarize(sampler, tables, *block)

    def _summarize(
        self, sampler: LookaheadSampler, tables: AdditiveTables, residual: Tensor, constant: Tensor
    ) -> Summary:
        """The part of the draws of a block of data that is kept."""
        size = self.replicate_size(self.num_particles)
        draws = sampler.sample(residual, constant, size, num_islands=self.num_replicates)
        log_weights, nodes = draws.log_weights.flatten(0, 1), draws.nodes.flatten(0, 1)
        index = resample_systematic(log_weights, _NUM_CHECKED)
        posterior = nodes.take_along_dim(index[..., None], 0)
        replicates = log_mean_exp(draws.log_weights, 1)
        return {
            "replicates": replicates,
            "num_evaluations": torch.full_like(constant, self.num_drawn),
            "ess": draws.ess,
            "largest_weight": largest_weight(log_weights),
            "island_spread": replicates.std(0),
            "discretization_error": discretization_error(tables, residual, posterior),
        }

    def gates(self, summary: Summary) -> list[Gate]:
        """The islands agree, particles enough count, and the nodes are close enough."""
        error = summary["discretization_error"]
        return [
            Gate.below("an effective sample size", summary["ess"], _MIN_EFFECTIVE_SAMPLE_SIZE),
            spread_gate(summary),
            Gate.above("a discretisation error in nats", error, _MAX_DISCRETIZATION_ERROR),
        ]

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total, whose gradient is that of the joint density at look-ahead draws (Fisher's)."""
        counts = {"num_particles": self.num_particles, "num_nodes": self.num_nodes}
        particles = program.draw(LookaheadGuide(program.model, **counts), self.num_particles)
        return particles.log_evidence.sum(), particles.data_scale
