"""Evidence by importance sampling, per datum."""

from dataclasses import replace

from torch import Tensor

from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.islands import Draw, island_log_weights, island_size
from lvkam_pyro.evidence.verdict import MIN_EFFECTIVE_SAMPLE_SIZE, Gate, Verdict
from lvkam_pyro.guides.population import PopulationGuide
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.jackknife import leave_one_out_log_mean_exp, log_mean_exp
from lvkam_pyro.statistics.weights import (
    MAX_PARETO_K,
    effective_sample_size,
    largest_weight,
    pareto_k,
)
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import LibraryGuide, PriorGuide
from lvkam_pyro.tracing.program import BoundProgram

_NUM_PARTICLES = 4096
_NUM_SHARED = 32768


class Importance(Estimator):
    r"""The log of the mean importance weight of each datum.

    .. math:: \log \hat p(x_n) = \log \frac{1}{S} \sum_s \frac{p(x_n, z_s)}{q(z_s | x_n)}

    exp of it is unbiased. The particles form R islands, the replicates of the standard error.
    Diagnostics: `ess`, `pareto_k`, `largest_weight`, `(U,)` each. The verdict is unreliable
    where k > 0.7 (or cannot be fitted) or ESS < 10.

    `estimate` runs in blocks of particles and data, so that its memory stays bounded; its result
    has the same distribution for any blocks. The loss draws all particles at once, for its
    gradient.

    Args:
        num_particles: S, at least (rounded up to full islands). Default: 4096, or 32768 under the
            prior, whose draws all data share.
        num_replicates: R islands.

    Raises:
        TypeError: If a number is no integer.
        ValueError: If there is no particle, or fewer than two replicates.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> evidence = Importance(4096).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 4 * evidence.standard_error.max())
        True
    """

    name = "Importance"
    remedy = (
        "Use ThermodynamicIntegration or SteppingStone, or importance sampling with an amortised "
        "guide or more particles."
    )

    def __init__(self, num_particles: int | None = None, *, num_replicates: int = 32) -> None:
        self.num_shared = _NUM_SHARED if num_particles is None else num_particles
        num_particles = _NUM_PARTICLES if num_particles is None else num_particles
        super().__init__(num_particles=check_count("num_particles", num_particles))
        self.num_replicates = check_count("num_replicates", num_replicates, minimum=2)

    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Estimate the log evidence; see `Estimator.estimate`."""
        guide = PriorGuide(program.model) if guide is None else guide
        is_shared = program.shares_particles and isinstance(guide, PriorGuide)
        size = self.island_size(self.num_shared if is_shared else self.num_particles)
        before = _evaluations_behind(guide)
        with program.session(guide, seed=seed):
            blocks = program.blocks(size * self.num_replicates)
            parts = [self.summarize(self._log_weights(block, guide, size)) for block in blocks]
        summary = {name: program.join([part[name] for part in parts]) for name in parts[0]}
        evidence = self.conclude(summary, program, size=size)
        behind = (_evaluations_behind(guide) - before) // len(parts)
        total = evidence.num_likelihood_evaluations + behind
        return replace(evidence, num_likelihood_evaluations=total)

    def _log_weights(self, block: BoundProgram, guide: Program, size: int) -> Tensor:
        guide = guide.on(block) if isinstance(guide, LibraryGuide) else guide
        draw = self.drawing(block, guide)
        counts = {"size": size, "num_replicates": self.num_replicates}
        return island_log_weights(block, guide, draw, **counts)

    def island_size(self, num_particles: int) -> int:
        """The number of particles of an island, when so many in all are asked for."""
        return island_size(num_particles, self.num_replicates)

    def drawing(self, program: BoundProgram, guide: Program) -> Draw:
        """A function that draws the islands' particles, all of them in order, for a block."""
        return lambda count: program.draw(guide, count)

    def summarize(self, log_weights: Tensor) -> dict[str, Tensor]:
        """The part of the log weights `(R, S / R, U)` of a block that is kept."""
        flat = log_weights.flatten(0, 1)
        return {
            "replicates": self.replicate(to_double(log_weights)),
            "ess": to_double(effective_sample_size(flat)),
            "pareto_k": to_double(pareto_k(flat)),
            "largest_weight": to_double(largest_weight(flat)),
        }

    def replicate(self, log_weights: Tensor) -> Tensor:
        """Each island's estimate, `(R, U)`."""
        return log_mean_exp(log_weights, 1)

    def conclude(self, summary: dict[str, Tensor], program: BoundProgram, *, size: int) -> Evidence:
        """The evidence from the islands' estimates and the weights' diagnostics."""
        replicates = summary.pop("replicates")
        return Evidence.of(
            self.combine(replicates),
            self.leave_one_out(replicates),
            diagnostics=summary,
            verdict=self.judge(summary),
            num_likelihood_evaluations=size * self.num_replicates,
            estimator=self.name,
            data_hash=program.data_hash,
            data_scale=program.data_scale,
            is_lower_bound=self.is_lower_bound,
        )

    def combine(self, replicates: Tensor) -> Tensor:
        """The estimate of all islands, `(U,)`."""
        return log_mean_exp(replicates)

    def leave_one_out(self, replicates: Tensor) -> Tensor:
        """The estimates without each island, `(R, U)`."""
        return leave_one_out_log_mean_exp(replicates)

    def judge(self, summary: dict[str, Tensor]) -> Verdict:
        """The verdict on the weights."""
        gates = [
            Gate.above("Pareto k", summary["pareto_k"], MAX_PARETO_K),
            Gate.below("an effective sample size", summary["ess"], MIN_EFFECTIVE_SAMPLE_SIZE),
        ]
        return Verdict.of(gates, remedy=self.remedy)

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total log mean weight; the gradient self-normalises the weights (Fisher's)."""
        guide = PriorGuide(program.model) if guide is None else guide
        particles = program.draw(guide, self.num_particles)
        check_reparameterized(particles)
        return self.bound(particles).sum(), particles.data_scale

    def bound(self, particles: Particles) -> Tensor:
        """The differentiable estimate of each datum, `(U,)`."""
        return particles.log_evidence


def check_reparameterized(particles: Particles) -> None:
    """A guide that learns draws by rsample; otherwise its gradient would be wrong.

    Raises:
        ValueError: If the guide's density has a gradient but none of its draws.

    Example:
        >>> import torch
        >>> zeros = torch.zeros(2, 3)
        >>> learned = torch.zeros(2, 3, requires_grad=True)
        >>> check_reparameterized(Particles({"z": zeros}, zeros, zeros, learned))
        Traceback (most recent call last):
        ...
        ValueError: The guide has parameters, but none of its draws depends on them: ...
    """
    if particles.log_guide.requires_grad and not any(
        draw.requires_grad for draw in particles.latents.values()
    ):
        raise ValueError(
            "The guide has parameters, but none of its draws depends on them: it samples without "
            "rsample. Use a reparameterised distribution in the guide, or detach its parameters."
        )


def _evaluations_behind(guide: Program) -> int:
    """Likelihood evaluations that a guide has made by itself, per datum."""
    return guide.num_evaluations if isinstance(guide, PopulationGuide) else 0
