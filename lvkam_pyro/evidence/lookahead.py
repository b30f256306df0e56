"""Evidence of additive models by look-ahead sequential importance resampling."""

import math

import torch
from torch import Tensor

from lvkam_pyro.additive.conditionals import discretization_error
from lvkam_pyro.additive.lookahead_sampler import LookaheadSampler
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.islands import island_size
from lvkam_pyro.evidence.verdict import MAX_CHAIN_SPREAD, Gate, Verdict
from lvkam_pyro.guides.lookahead import LookaheadGuide
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.jackknife import leave_one_out_log_mean_exp, log_mean_exp
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.statistics.weights import largest_weight
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

_REMEDY = "Use more particles or more nodes, or GridGibbs."

_MAX_LOGITS = 2**22
"""Probabilities of nodes held at once (32 MB in double precision)."""

_NUM_CHECKED = 16
_MIN_EFFECTIVE_SAMPLE_SIZE = 100.0
_MAX_DISCRETIZATION_ERROR = 0.05


class Lookahead(Estimator):
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
        TypeError: If a number is no integer.
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

    def __init__(
        self,
        num_particles: int = 8192,
        *,
        num_replicates: int = 16,
        num_nodes: int | None = None,
    ) -> None:
        super().__init__(num_particles=check_count("num_particles", num_particles))
        self.num_replicates = check_count("num_replicates", num_replicates, minimum=2)
        self.num_nodes = None if num_nodes is None else check_count("num_nodes", num_nodes)

    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Estimate the log evidence; see `Estimator.estimate`. A guide is left aside."""
        with program.session(seed=seed):
            tables = AdditiveTables.of(AdditiveModel.of(program), num_nodes=self.num_nodes)
            sampler, (residual, constant) = LookaheadSampler(tables), tables.project(program)
            num_logits = program.num_units * self.num_particles * tables.num_nodes
            num_blocks = math.ceil(num_logits / _MAX_LOGITS)
            blocks = zip(
                residual.tensor_split(num_blocks), constant.tensor_split(num_blocks), strict=True
            )
            parts = [self._summarize(sampler, tables, *block) for block in blocks if len(block[0])]
        summary = {name: to_double(torch.cat([p[name] for p in parts], -1)) for name in parts[0]}
        return self._conclude(summary, program)

    def _summarize(
        self, sampler: LookaheadSampler, tables: AdditiveTables, residual: Tensor, constant: Tensor
    ) -> dict[str, Tensor]:
        """The part of the draws of a block of data that is kept."""
        size = island_size(self.num_particles, self.num_replicates)
        draws = sampler.sample(residual, constant, size, num_islands=self.num_replicates)
        log_weights, nodes = draws.log_weights.flatten(0, 1), draws.nodes.flatten(0, 1)
        index = resample_systematic(log_weights, _NUM_CHECKED)
        posterior = nodes.take_along_dim(index[..., None], 0)
        return {
            "replicates": log_mean_exp(draws.log_weights, 1),
            "ess": draws.ess,
            "largest_weight": largest_weight(log_weights),
            "discretization_error": discretization_error(tables, residual, posterior),
        }

    def _conclude(self, summary: dict[str, Tensor], program: BoundProgram) -> Evidence:
        replicates = summary.pop("replicates")
        error = summary.pop("discretization_error")
        summary["island_spread"] = replicates.std(0)
        gates = [
            Gate.below("an effective sample size", summary["ess"], _MIN_EFFECTIVE_SAMPLE_SIZE),
            Gate.above(
                "a spread of the islands in nats", summary["island_spread"], MAX_CHAIN_SPREAD
            ),
            Gate.above("a discretisation error in nats", error, _MAX_DISCRETIZATION_ERROR),
        ]
        size = island_size(self.num_particles, self.num_replicates)
        return Evidence.of(
            log_mean_exp(replicates),
            leave_one_out_log_mean_exp(replicates),
            diagnostics=summary,
            verdict=Verdict.of(gates, remedy=_REMEDY),
            num_likelihood_evaluations=size * self.num_replicates,
            estimator=self.name,
            data_hash=program.data_hash,
            discretization_error=error,
            data_scale=program.data_scale,
        )

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total, whose gradient is that of the joint density at look-ahead draws (Fisher's)."""
        counts = {"num_particles": self.num_particles, "num_nodes": self.num_nodes}
        particles = program.draw(LookaheadGuide(program.model, **counts), self.num_particles)
        return particles.log_evidence.sum(), particles.data_scale
